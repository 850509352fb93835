{{- define "trisignal.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "trisignal.labels" -}}
app.kubernetes.io/part-of: trisignal
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "trisignal.selector" -}}
app.kubernetes.io/name: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "trisignal.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "trisignal.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "trisignal.probes" -}}
startupProbe:
  httpGet: {path: /, port: health}
  failureThreshold: 30
  periodSeconds: 2
livenessProbe:
  httpGet: {path: /, port: health}
  periodSeconds: 20
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /, port: health}
  periodSeconds: 10
  timeoutSeconds: 5
{{- end }}

{{- define "trisignal.backend" -}}
otlphttp:
  endpoint: {{ .Values.backend.endpoint | quote }}
  {{- if .Values.backend.authorizationSecret }}
  headers: {authorization: "${env:OTLP_AUTHORIZATION}"}
  {{- end }}
{{- end }}

{{- define "trisignal.backendEnv" -}}
{{- if .Values.backend.authorizationSecret }}
- name: OTLP_AUTHORIZATION
  valueFrom: {secretKeyRef: {name: {{ .Values.backend.authorizationSecret }}, key: authorization}}
{{- end }}
{{- end }}

{{- /* Where pods run, and whose images they may pull; nothing where no value says so. */}}
{{- define "trisignal.placement" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- range $key := list "tolerations" "nodeSelector" "affinity" }}
{{- with index $.of $key }}
{{ $key }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
