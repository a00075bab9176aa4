{{/* What objects are called, and the labels by which they find each other. */}}

{{- define "flowmill.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* The beginning of all names. Short, because pools and hashes are added to it. */}}
{{- define "flowmill.fullname" -}}
{{- $name := include "flowmill.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "flowmill.api" -}}
{{ include "flowmill.fullname" . }}-api
{{- end -}}

{{- define "flowmill.serviceAccount" -}}
{{- $own := ternary (include "flowmill.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $own .Values.serviceAccount.name -}}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "flowmill.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "flowmill.selector" . }}
{{- end -}}

{{/* Labels that all pods of the release have and that never change. */}}
{{- define "flowmill.selector" -}}
app.kubernetes.io/name: {{ include "flowmill.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of one kind of pods. Takes root, component and, for workers, pool. */}}
{{- define "flowmill.component" -}}
{{ include "flowmill.selector" .root }}
app.kubernetes.io/component: {{ .component }}
{{- with .pool }}
flowmill/pool: {{ . }}
{{- end }}
{{- end -}}

{{- define "flowmill.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The pools of workers with all their values, as a YAML mapping. */}}
{{- define "flowmill.pools" -}}
{{- $pools := dict -}}
{{- range $name, $pool := .Values.workers -}}
{{- $whole := mergeOverwrite (deepCopy $.Values.workerDefaults) (default dict $pool) -}}
{{- if $whole.enabled -}}
{{- $_ := set $pools $name $whole -}}
{{- end -}}
{{- end -}}
{{ toYaml $pools }}
{{- end -}}
