{{/*
What is said once about scaling. The exporter and the scalers read the same values: the exporter
says how many workers a queue wants, within its bounds, and the scaler gives it exactly so many.
Each of these takes (dict "root" $ "queue" NAME "options" OPTIONS).
*/}}

{{/* Fewest workers of a queue. Not said: none where KEDA scales, one where an HPA does. */}}
{{- define "kiosk-tasks.scaling.least" -}}
{{- $scaling := .root.Values.scaling -}}
{{- $least := dig "minReplicas" nil .options -}}
{{- if kindIs "invalid" $least }}{{ $least = $scaling.minReplicas }}{{ end -}}
{{- if kindIs "invalid" $least }}{{ $least = ternary 1 0 (eq $scaling.mode "hpa") }}{{ end -}}
{{- if and (eq $scaling.mode "hpa") (lt (int $least) 1) -}}
{{- fail (printf "the queue %s is to have %d workers at least, and a HorizontalPodAutoscaler cannot start from none. Set scaling.minReplicas (or queues.%s.minReplicas) to 1 or more, or scaling.mode to keda." .queue (int $least) .queue) -}}
{{- end -}}
{{- $most := int (include "kiosk-tasks.scaling.most" .) -}}
{{- if gt (int $least) $most -}}
{{- fail (printf "the queue %s is to have at least %d and at most %d workers: raise its maxReplicas or lower its minReplicas." .queue (int $least) $most) -}}
{{- end -}}
{{- int $least -}}
{{- end }}

{{/* Most workers of a queue. */}}
{{- define "kiosk-tasks.scaling.most" -}}
{{- $most := dig "maxReplicas" nil .options -}}
{{- if kindIs "invalid" $most }}{{ $most = .root.Values.scaling.maxReplicas }}{{ end -}}
{{- int $most -}}
{{- end }}

{{/* Jobs that one worker of a queue does at once. */}}
{{- define "kiosk-tasks.scaling.slots" -}}
{{- int (default .root.Values.worker.concurrency (dig "concurrency" nil .options)) -}}
{{- end }}

{{/* "true" if a scaler owns the number of model servers. Takes $. */}}
{{- define "kiosk-tasks.scaling.modelServer" -}}
{{- $model := .Values.scaling.modelServer -}}
{{- $mode := .Values.scaling.mode -}}
{{- $scaled := and $model.enabled .Values.modelServer.enabled (ne $mode "none") -}}
{{- if $scaled -}}
{{- if gt (int $model.minReplicas) (int $model.maxReplicas) -}}
{{- fail (printf "scaling.modelServer is to have at least %d and at most %d servers: raise maxReplicas or lower minReplicas." (int $model.minReplicas) (int $model.maxReplicas)) -}}
{{- end -}}
{{- if and (eq $mode "hpa") (lt (int $model.minReplicas) 1) -}}
{{- fail "scaling.modelServer.minReplicas is 0, and a HorizontalPodAutoscaler cannot start from none. Set it to 1, or scaling.mode to keda." -}}
{{- end -}}
{{- if and (eq $mode "keda") (eq .Values.scaling.source "flower") -}}
{{- fail "Flower does not know what the models have to do, so it cannot scale the model server. Set scaling.modelServer.enabled to false, or scaling.source to exporter." -}}
{{- end -}}
{{- end -}}
{{- $scaled -}}
{{- end }}

{{/*
The settings of the parts that tell how many workers are wanted (exporter, web), as entries of a
ConfigMap. Takes $. Where KEDA lets idle workers go although minReplicas is more than 0
(idleReplicas), the law must say 0 for an empty queue, or it would never be idle.
*/}}
{{- define "kiosk-tasks.scaling.settings" -}}
{{- $root := . -}}
{{- $scaling := .Values.scaling -}}
{{- $idle := not (kindIs "invalid" $scaling.idleReplicas) -}}
{{- $queues := dict -}}
{{- range $queue, $options := .Values.queues -}}
{{- $of := dict "root" $root "queue" $queue "options" (default dict $options) -}}
{{- $least := int (include "kiosk-tasks.scaling.least" $of) -}}
{{- $one := dict "min" (ternary 0 $least $idle) "max" (int (include "kiosk-tasks.scaling.most" $of)) "slots" (int (include "kiosk-tasks.scaling.slots" $of)) -}}
{{- with dig "targetDrainSeconds" nil $of.options }}{{ $_ := set $one "drain" (int .) }}{{ end -}}
{{- $_ := set $queues $queue $one -}}
{{- end -}}
KIOSK_TARGET_DRAIN: {{ $scaling.targetDrainSeconds | quote }}
KIOSK_SCALE_DOWN_WINDOW: {{ $scaling.scaleDownWindowSeconds | quote }}
KIOSK_SCALING: {{ $queues | toJson | quote }}
KIOSK_MODEL_DRAIN: {{ $scaling.modelServer.targetDrainSeconds | quote }}
KIOSK_MAX_MODEL_SERVERS: {{ ternary $scaling.modelServer.maxReplicas .Values.modelServer.replicas (eq (include "kiosk-tasks.scaling.modelServer" $) "true") | quote }}
{{- end }}

{{/*
Seconds for which workers stay after they were last wanted. Flower tells nothing of jobs in flight:
there, as long as the last job taken may run.
*/}}
{{- define "kiosk-tasks.scaling.window" -}}
{{- $window := int .root.Values.scaling.scaleDownWindowSeconds -}}
{{- if and (eq .root.Values.scaling.mode "keda") (eq .root.Values.scaling.source "flower") -}}
{{- $window = max $window (int (default 0 (dig "timeLimitSeconds" nil .options))) -}}
{{- end -}}
{{- $window -}}
{{- end }}

{{/*
How fast the number of pods moves, for KEDA and HPA alike: up at once, down to the most that was
wanted within the window (an hour at most, says Kubernetes), and then step by step. Takes
(dict "root" $ "window" SECONDS).
*/}}
{{- define "kiosk-tasks.scaling.behavior" -}}
{{- $scaling := .root.Values.scaling -}}
scaleUp:
  stabilizationWindowSeconds: 0
  selectPolicy: Max
  policies:
    - type: Pods
      value: {{ $scaling.scaleUp.pods }}
      periodSeconds: {{ $scaling.scaleUp.periodSeconds }}
    - type: Percent
      value: {{ $scaling.scaleUp.percent }}
      periodSeconds: {{ $scaling.scaleUp.periodSeconds }}
scaleDown:
  stabilizationWindowSeconds: {{ min 3600 (int .window) }}
  selectPolicy: Max
  policies:
    - type: Pods
      value: 1
      periodSeconds: {{ $scaling.scaleDown.periodSeconds }}
    - type: Percent
      value: {{ $scaling.scaleDown.percent }}
      periodSeconds: {{ $scaling.scaleDown.periodSeconds }}
{{- end }}

{{/* An address of the chart's own: the one said, or the Service here. Takes (dict "root" $ "said" URL "service" NAME "port" PORT). */}}
{{- define "kiosk-tasks.scaling.address" -}}
{{- if .said -}}
{{- .said -}}
{{- else -}}
http://{{ include "kiosk-tasks.fullname" .root }}-{{ .service }}.{{ .root.Release.Namespace }}:{{ .port }}
{{- end -}}
{{- end }}
