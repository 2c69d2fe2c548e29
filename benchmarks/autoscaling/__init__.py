"""A model of jobs, pods and autoscalers, to compare scaling rules over a day in a second.

It is a model: nothing here talks to Kubernetes. `hpa` and `keda` follow the published algorithms,
`pods` and `cluster` the life of a pod and of a job, `traces` says who submits what and when.
"""
