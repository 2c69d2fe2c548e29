{{/* What every object's name starts with: the release's name. Room is left for what follows it. */}}
{{- define "kiosk-tasks.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Labels that never change, so that an upgrade never meets an immutable selector. Takes (dict "root" $ "component" NAME). */}}
{{- define "kiosk-tasks.selectorLabels" -}}
app.kubernetes.io/name: kiosk-tasks
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* All labels. Takes (dict "root" $ "component" NAME). */}}
{{- define "kiosk-tasks.labels" -}}
{{ include "kiosk-tasks.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* Name of a queue's worker. Takes (dict "root" $ "queue" NAME). */}}
{{- define "kiosk-tasks.worker.name" -}}
{{- $name := printf "%s-worker-%s" (include "kiosk-tasks.fullname" .root) (.queue | lower | replace "_" "-" | replace "." "-") -}}
{{- if gt (len $name) 63 -}}
{{- fail (printf "the worker of the queue %s would be called %s, which is longer than 63 characters. Install under a shorter name, or set fullnameOverride." .queue $name) -}}
{{- end -}}
{{- $name -}}
{{- end }}

{{/* An image of ours, or the one said whole. Takes (dict "root" $ "name" worker|web|modelServer). */}}
{{- define "kiosk-tasks.image" -}}
{{- $image := index .root.Values.image .name -}}
{{- printf "%s:%s" $image.repository (default (default .root.Chart.AppVersion .root.Values.image.tag) $image.tag) -}}
{{- end }}

{{/* Name of a Secret: the part's own, else the one for all. Takes (dict "root" $ "own" NAME). */}}
{{- define "kiosk-tasks.secret" -}}
{{- if .root.Values.secrets.trial -}}
{{- include "kiosk-tasks.fullname" .root }}-trial
{{- else -}}
{{- default .root.Values.secrets.existingSecret .own | required "name a Secret in secrets.existingSecret; `kiosk deploy secrets` makes what it holds, see docs/kubernetes.md. To only try the chart, set secrets.trial to true." -}}
{{- end -}}
{{- end }}

{{/* "true" if the bucket is a folder, and so a volume of this chart. Takes $. */}}
{{- define "kiosk-tasks.bucket.folder" -}}
{{- hasPrefix "file://" .Values.bucket.url -}}
{{- end }}

{{/* "true" if the bucket is a volume that one node alone can mount. Takes $. */}}
{{- define "kiosk-tasks.bucket.oneNode" -}}
{{- $volume := .Values.bucket.volume -}}
{{- and (eq (include "kiosk-tasks.bucket.folder" .) "true") (not $volume.existingClaim) (eq $volume.accessMode "ReadWriteOnce") -}}
{{- end }}

{{/* Host and port of the model server. Takes $. */}}
{{- define "kiosk-tasks.modelServer.address" -}}
{{- if .Values.modelServer.enabled -}}
{{- include "kiosk-tasks.fullname" . }}-model-server:8500
{{- else -}}
{{- required "modelServer.enabled is false: say in modelServer.address where models are served, as host:8500." .Values.modelServer.address -}}
{{- end -}}
{{- end }}

{{/* Name of the ServiceAccount: one for who reads and writes the bucket, one without any rights. Takes (dict "root" $ "bucket" BOOL). */}}
{{- define "kiosk-tasks.serviceAccount" -}}
{{- $fullname := include "kiosk-tasks.fullname" .root -}}
{{- $account := .root.Values.serviceAccount -}}
{{- if not .bucket -}}
{{- ternary (printf "%s-no-rights" $fullname) "default" $account.create -}}
{{- else -}}
{{- default (ternary $fullname "default" $account.create) $account.name -}}
{{- end -}}
{{- end }}

{{/*
How long Kubernetes waits before it kills a worker: the soft shutdown, in which running jobs may end,
and then time to put the others back. Takes $.
*/}}
{{- define "kiosk-tasks.worker.grace" -}}
{{- $worker := .Values.worker -}}
{{- $soft := int $worker.softShutdownSeconds -}}
{{- $grace := int (default (add $soft 30) $worker.gracePeriodSeconds) -}}
{{- $left := sub $grace $soft | int -}}
{{- if lt $left 15 -}}
{{- fail (printf "worker.gracePeriodSeconds is %d and worker.softShutdownSeconds %d: that leaves %d s to put running jobs back, and it takes up to 15. Set worker.gracePeriodSeconds to %d or more, or leave it out." $grace $soft $left (add $soft 15)) -}}
{{- end -}}
{{- $grace -}}
{{- end }}
