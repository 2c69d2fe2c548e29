{{/*
What the pods of all parts share. Each takes (dict "root" $ "component" NAME "options" VALUES), where
the options are the part's own values; `pod` in the values holds for all parts that do not say
otherwise.
*/}}

{{/* Labels of a pod, and annotations: a change of what it reads at its start starts it anew. */}}
{{- define "kiosk-tasks.pod.metadata" -}}
labels:
  {{- include "kiosk-tasks.labels" (dict "root" .root "component" .component) | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- if and .bucket (eq (include "kiosk-tasks.bucket.oneNode" .root) "true") }}
  kiosk-tasks/bucket: volume
  {{- end }}
  {{- with merge (dict) (default dict .options.podLabels) (default dict .root.Values.pod.labels) }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  {{- range $name, $file := .checksums }}
  checksum/{{ $name }}: {{ include (print $.root.Template.BasePath "/" $file) $.root | sha256sum }}
  {{- end }}
  {{- with merge (dict) (default dict .options.podAnnotations) (default dict .root.Values.pod.annotations) (default dict .annotations) }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/*
Who the pod is, and where it may run. `uid` is another user than ours, `fsGroup` another group of its
volumes than that user's.
*/}}
{{- define "kiosk-tasks.pod.spec" -}}
{{- $pod := .root.Values.pod -}}
{{- $uid := int (default $pod.user .uid) -}}
serviceAccountName: {{ include "kiosk-tasks.serviceAccount" (dict "root" .root "bucket" (default false .bucket)) }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ $uid }}
  runAsGroup: {{ $uid }}
  fsGroup: {{ int (default $uid .fsGroup) }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with default $pod.priorityClassName .options.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with default $pod.nodeSelector .options.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with default $pod.tolerations .options.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with default $pod.affinity .options.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- else }}
{{- if and .bucket (eq (include "kiosk-tasks.bucket.oneNode" .root) "true") }}
affinity:
  podAffinity: # all on the node that has the bucket's volume
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            app.kubernetes.io/instance: {{ .root.Release.Name }}
            kiosk-tasks/bucket: volume
{{- end }}
{{- end }}
{{- with $pod.spreadOver }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "kiosk-tasks.selectorLabels" (dict "root" $.root "component" $.component) | nindent 8 }}
        {{- with $.labels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end }}
{{- end }}

{{/* A container that can change nothing but its volumes; `as` is another user than its pod's. */}}
{{- define "kiosk-tasks.container.security" -}}
securityContext:
  {{- with .as }}
  runAsUser: {{ int . }}
  runAsGroup: {{ int . }}
  {{- end }}
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/*
Settings of a part of ours. Secrets come as files; the ConfigMap holds what is no secret.
`user` is its user on the broker, if it has one; `bucket` says whether it uses the bucket.
*/}}
{{- define "kiosk-tasks.container.env" -}}
{{- $values := .root.Values -}}
envFrom:
  - configMapRef:
      name: {{ include "kiosk-tasks.fullname" .root }}-settings
  {{- range .configMaps }}
  - configMapRef:
      name: {{ . }}
  {{- end }}
env:
  - name: HOME
    value: /tmp
  {{- if .user }}
  - name: KIOSK_BROKER_URL_FILE
    value: /run/secrets/kiosk/broker-url
  {{- end }}
  {{- if .alive }}
  - name: KIOSK_ALIVE_FILE
    value: /run/kiosk/alive
  {{- end }}
  {{- if and .user (not $values.broker.bundled) }}
  {{- with $values.broker.external }}
  {{- if .tls.caSecret }}
  - name: KIOSK_BROKER_CA
    value: /run/secrets/broker-ca/{{ .tls.caKey }}
  {{- end }}
  {{- if .tls.clientSecret }}
  - name: KIOSK_BROKER_CERTIFICATE
    value: /run/secrets/broker-client/tls.crt
  - name: KIOSK_BROKER_KEY
    value: /run/secrets/broker-client/tls.key
  {{- end }}
  {{- if .sentinel.master }}
  - name: KIOSK_SENTINEL_MASTER
    value: {{ .sentinel.master | quote }}
  {{- if .tls.caSecret }}
  - name: KIOSK_SENTINEL_TLS
    value: "true"
  {{- end }}
  {{- if .sentinel.passwordKey }}
  - name: KIOSK_SENTINEL_PASSWORD_FILE
    value: /run/secrets/kiosk/sentinel-password
  {{- end }}
  {{- end }}
  {{- end }}
  {{- end }}
  {{- if and .bucket (eq $values.bucket.credentials "secret") }}
  {{- if hasPrefix "s3://" $values.bucket.url }}
  - name: AWS_SHARED_CREDENTIALS_FILE
    value: /run/secrets/bucket/bucket-credentials
  {{- else if hasPrefix "gs://" $values.bucket.url }}
  - name: GOOGLE_APPLICATION_CREDENTIALS
    value: /run/secrets/bucket/bucket-credentials
  {{- end }}
  {{- end }}
  {{- range .files }}
  - name: {{ .setting }}_FILE
    value: /run/secrets/kiosk/{{ .key }}
  {{- end }}
  {{- with .env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with $values.pod.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .options.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Where the secrets, and what a part writes, are found. */}}
{{- define "kiosk-tasks.container.mounts" -}}
{{- $values := .root.Values -}}
volumeMounts:
  {{- if .user }}
  - name: secrets
    mountPath: /run/secrets/kiosk
    readOnly: true
  {{- end }}
  - name: tmp
    mountPath: /tmp
  - name: run
    mountPath: /run/kiosk
  {{- if and .user (not $values.broker.bundled) }}
  {{- if $values.broker.external.tls.caSecret }}
  - name: broker-ca
    mountPath: /run/secrets/broker-ca
    readOnly: true
  {{- end }}
  {{- if $values.broker.external.tls.clientSecret }}
  - name: broker-client
    mountPath: /run/secrets/broker-client
    readOnly: true
  {{- end }}
  {{- end }}
  {{- if .bucket }}
  {{- if eq (include "kiosk-tasks.bucket.folder" .root) "true" }}
  - name: bucket
    mountPath: {{ trimPrefix "file://" $values.bucket.url }}
  {{- else if eq $values.bucket.credentials "secret" }}
  - name: bucket-credentials
    mountPath: /run/secrets/bucket
    readOnly: true
  {{- end }}
  {{- end }}
{{- end }}

{{/* The volumes of those mounts. `tmp` is the size of the part's temporary files. */}}
{{- define "kiosk-tasks.pod.volumes" -}}
{{- $values := .root.Values -}}
{{- $broker := $values.broker -}}
volumes:
  {{- if .user }}
  - name: secrets
    projected:
      defaultMode: 0440
      sources:
        - secret:
            name: {{ include "kiosk-tasks.secret" (dict "root" .root "own" $broker.existingSecret) }}
            items:
              - key: {{ ternary (printf "%s-broker-url" .user) "broker-url" (or $broker.bundled $broker.external.urlPerComponent) }}
                path: broker-url
              {{- if and (not $broker.bundled) $broker.external.sentinel.passwordKey }}
              - key: {{ $broker.external.sentinel.passwordKey }}
                path: sentinel-password
              {{- end }}
        {{- range .files }}
        - secret:
            name: {{ include "kiosk-tasks.secret" (dict "root" $.root "own" .secret) }}
            items:
              - key: {{ .key }}
                path: {{ .key }}
        {{- end }}
  {{- end }}
  - name: tmp
    emptyDir:
      sizeLimit: {{ default "256Mi" .tmp }}
  - name: run
    emptyDir:
      medium: Memory
      sizeLimit: 1Mi
  {{- if and .user (not $broker.bundled) }}
  {{- with $broker.external.tls.caSecret }}
  - name: broker-ca
    secret:
      secretName: {{ . }}
      defaultMode: 0440
  {{- end }}
  {{- with $broker.external.tls.clientSecret }}
  - name: broker-client
    secret:
      secretName: {{ . }}
      defaultMode: 0440
  {{- end }}
  {{- end }}
  {{- if .bucket }}
  {{- if eq (include "kiosk-tasks.bucket.folder" .root) "true" }}
  - name: bucket
    persistentVolumeClaim:
      claimName: {{ default (printf "%s-bucket" (include "kiosk-tasks.fullname" .root)) $values.bucket.volume.existingClaim }}
  {{- else if eq $values.bucket.credentials "secret" }}
  - name: bucket-credentials
    secret:
      secretName: {{ include "kiosk-tasks.secret" (dict "root" .root "own" $values.bucket.existingSecret) }}
      defaultMode: 0440
      items:
        - key: bucket-credentials
          path: bucket-credentials
  {{- end }}
  {{- end }}
{{- end }}

{{/* Probes of a part that leaves signs of life in a file. Takes (dict "seconds" AGE "start" MOST_SECONDS). */}}
{{- define "kiosk-tasks.container.aliveProbes" -}}
startupProbe:
  exec:
    command: [python, -m, kiosk_tasks.run.liveness, /run/kiosk/alive, "60"]
  periodSeconds: 5
  timeoutSeconds: 10
  failureThreshold: {{ div (int .start) 5 }}
livenessProbe:
  exec:
    command: [python, -m, kiosk_tasks.run.liveness, /run/kiosk/alive, {{ .seconds | quote }}]
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 2
{{- end }}
