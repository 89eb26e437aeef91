{{- define "eso-sync.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The name of a job's objects. Context: a dict with `root` and `key`. */}}
{{- define "eso-sync.job" -}}
{{- $base := include "eso-sync.fullname" .root -}}
{{- if eq .key "sync" -}}
{{- $base -}}
{{- else -}}
{{- /* The name of a CronJob has at most 52 characters. */ -}}
{{- $name := printf "%s-%s" $base .key -}}
{{- if gt (len $name) 52 }}{{ fail (printf "jobs.%s: the name %s has more than 52 characters; shorten it, or set fullnameOverride" .key $name) }}{{ end -}}
{{- $name -}}
{{- end -}}
{{- end -}}

{{/* The ServiceAccount of a job. Context: a dict with `root`, `key` and `job`. */}}
{{- define "eso-sync.account" -}}
{{- $name := dig "serviceAccount" "name" "" .job -}}
{{- $create := dig "serviceAccount" "create" true .job -}}
{{- if and (not $create) (not $name) }}{{ fail (printf "jobs.%s.serviceAccount: set name, because create is false" .key) }}{{ end -}}
{{- default (include "eso-sync.job" .) $name -}}
{{- end -}}

{{- define "eso-sync.labels" -}}
{{- with .Values.commonLabels }}
{{- toYaml . }}
{{ end -}}
app.kubernetes.io/name: eso-sync
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "eso-sync.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The ConfigMap of a job's policy. Its name has a hash of the content, so a Job always reads the policy that was installed together with
     its CronJob. Context: a dict with `root`, `key` and `job`. */}}
{{- define "eso-sync.policy" -}}
{{- printf "%s-policy-%s" (include "eso-sync.job" .) (.job.policy | sha256sum | trunc 10) -}}
{{- end -}}

{{/* `name=value,…` of a dict, in a fixed order. */}}
{{- define "eso-sync.pairs" -}}
{{- $pairs := list -}}
{{- range $name, $value := . -}}{{- $pairs = append $pairs (printf "%s=%s" $name $value) -}}{{- end -}}
{{- join "," $pairs -}}
{{- end -}}
