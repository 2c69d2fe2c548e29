{{/*
What KEDA asks. Whatever is asked, one worker is wanted for each 1 of the answer, so nothing of the
scaling law is repeated here; Flower alone tells messages, not workers.
*/}}

{{/* The trigger of one queue. Takes (dict "root" $ "queue" NAME). */}}
{{- define "kiosk-tasks.scaling.queueTrigger" -}}
{{- $source := .root.Values.scaling.source -}}
{{- if eq $source "flower" -}}
{{- include "kiosk-tasks.scaling.flowerTrigger" . -}}
{{- else if eq $source "prometheus" -}}
{{- include "kiosk-tasks.scaling.prometheusTrigger" (dict "root" .root "metric" "kiosk_queue_wanted_workers" "labels" (list (printf "queue=%q" .queue))) -}}
{{- else -}}
{{- include "kiosk-tasks.scaling.exporterTrigger" (dict "root" .root "field" (printf "queues.%s.wanted_workers" (.queue | replace "." "\\."))) -}}
{{- end -}}
{{- end }}

{{/* The trigger of the model server. Takes (dict "root" $). */}}
{{- define "kiosk-tasks.scaling.modelTrigger" -}}
{{- if eq .root.Values.scaling.source "prometheus" -}}
{{- include "kiosk-tasks.scaling.prometheusTrigger" (dict "root" .root "metric" "kiosk_model_servers_wanted" "labels" (list)) -}}
{{- else -}}
{{- include "kiosk-tasks.scaling.exporterTrigger" (dict "root" .root "field" "model_servers_wanted") -}}
{{- end -}}
{{- end }}

{{/* A number of the exporter's /queues.json: no Prometheus needed. */}}
{{- define "kiosk-tasks.scaling.exporterTrigger" -}}
- type: metrics-api
  metricType: AverageValue
  metadata:
    url: {{ include "kiosk-tasks.scaling.address" (dict "root" .root "said" "" "service" "exporter" "port" .root.Values.exporter.port) }}/queues.json
    valueLocation: {{ .field | quote }}
    targetValue: "1"
    activationTargetValue: "0"
{{- end }}

{{/*
A gauge. The web service and the exporter both tell it, hence max. Every queue of the chart is always
told, with 0 where it is empty: no answer means that nobody tells, which is an error (and so the
fallback), never a 0.
*/}}
{{- define "kiosk-tasks.scaling.prometheusTrigger" -}}
{{- $prometheus := .root.Values.scaling.prometheus -}}
{{- $labels := .labels -}}
{{- with $prometheus.namespaceLabel }}{{ $labels = append $labels (printf "%s=%q" . $.root.Release.Namespace) }}{{ end -}}
- type: prometheus
  metricType: AverageValue
  metadata:
    serverAddress: {{ required "scaling.source is prometheus: say where it is in scaling.prometheus.address, for example http://prometheus.monitoring:9090." $prometheus.address | quote }}
    query: {{ printf "max(%s{%s})" .metric (join "," $labels) | quote }}
    threshold: "1"
    activationThreshold: "0"
    ignoreNullValues: "false"
{{- end }}

{{/*
Flower's count of the messages that no worker has taken. It does not know how long jobs take, nor the
jobs in flight: a queue whose last message is taken looks empty, so workers stay for its time limit
(`kiosk-tasks.scaling.window`).
*/}}
{{- define "kiosk-tasks.scaling.flowerTrigger" -}}
{{- $flower := .root.Values.scaling.flower -}}
- type: metrics-api
  metricType: AverageValue
  metadata:
    url: {{ include "kiosk-tasks.scaling.address" (dict "root" .root "said" $flower.address "service" "flower" "port" .root.Values.flower.port) }}/api/queues/length
    valueLocation: {{ printf `active_queues.#(name=="%s").messages` .queue | squote }}
    targetValue: {{ $flower.messagesPerWorker | quote }}
    activationTargetValue: "0"
    authMode: basic
  authenticationRef:
    name: {{ include "kiosk-tasks.fullname" .root }}-flower
{{- end }}
