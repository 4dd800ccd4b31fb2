package test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	monitoringv1alpha1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1alpha1"
	"helm.sh/helm/v3/pkg/releaseutil"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// objects are what was rendered, in Kubernetes' own types, by kind/name.
type objects map[string]metav1.Object

func newObject(apiVersion, kind string) metav1.Object {
	switch apiVersion + " " + kind {
	case "v1 ConfigMap":
		return &corev1.ConfigMap{}
	case "v1 Service":
		return &corev1.Service{}
	case "v1 ServiceAccount":
		return &corev1.ServiceAccount{}
	case "v1 PersistentVolumeClaim":
		return &corev1.PersistentVolumeClaim{}
	case "apps/v1 Deployment":
		return &appsv1.Deployment{}
	case "apps/v1 StatefulSet":
		return &appsv1.StatefulSet{}
	case "batch/v1 CronJob":
		return &batchv1.CronJob{}
	case "networking.k8s.io/v1 NetworkPolicy":
		return &networkingv1.NetworkPolicy{}
	case "monitoring.coreos.com/v1 ServiceMonitor":
		return &monitoringv1.ServiceMonitor{}
	case "monitoring.coreos.com/v1 PodMonitor":
		return &monitoringv1.PodMonitor{}
	case "monitoring.coreos.com/v1 PrometheusRule":
		return &monitoringv1.PrometheusRule{}
	case "monitoring.coreos.com/v1alpha1 ScrapeConfig":
		return &monitoringv1alpha1.ScrapeConfig{}
	}
	return nil
}

// read takes each document of a file. An unknown field, one of another type, or one given twice is an error.
func (o objects) read(text string) error {
	for _, document := range releaseutil.SplitManifests(text) {
		var head metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(document), &head); err != nil {
			return err
		}
		if head.Kind == "" { // nothing but comments
			if strings.TrimSpace(document) == "" {
				continue
			}
			return fmt.Errorf("a document without a kind: %q", document)
		}
		object := newObject(head.APIVersion, head.Kind)
		if object == nil {
			return fmt.Errorf("%s %s is not known to this test", head.APIVersion, head.Kind)
		}
		if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
			return fmt.Errorf("%s: %w", head.Kind, err)
		}
		id := head.Kind + "/" + object.GetName()
		if _, twice := o[id]; twice || object.GetName() == "" {
			return fmt.Errorf("%s is there twice, or has no name", id)
		}
		o[id] = object
	}
	return nil
}

// golden is everything, but for boards and rules, which are compared with their sources.
func (o objects) golden(t *testing.T, notes string) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, id := range slices.Sorted(maps.Keys(o)) {
		object := o[id]
		switch v := object.(type) {
		case *corev1.ConfigMap:
			for key := range v.Data {
				if strings.HasSuffix(key, ".json") {
					v.Data[key] = "(the board)"
				}
			}
		case *monitoringv1.PrometheusRule:
			v.Spec.Groups = slices.DeleteFunc(v.Spec.Groups, func(g monitoringv1.RuleGroup) bool { return g.Name != "pgr-kubernetes" })
		}
		text, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "---\n%s", text)
	}
	fmt.Fprintf(&b, "---\n# NOTES.txt\n#\n")
	for line := range strings.Lines(strings.TrimSpace(notes) + "\n") {
		b.WriteString(strings.TrimSuffix("# "+strings.TrimSuffix(line, "\n"), " ") + "\n")
	}
	return b.Bytes()
}

// pods are the pods' templates, by the kind/name of what makes them.
func (o objects) pods() map[string]corev1.PodTemplateSpec {
	pods := map[string]corev1.PodTemplateSpec{}
	for id, object := range o {
		switch v := object.(type) {
		case *appsv1.Deployment:
			pods[id] = v.Spec.Template
		case *appsv1.StatefulSet:
			pods[id] = v.Spec.Template
		case *batchv1.CronJob:
			pods[id] = v.Spec.JobTemplate.Spec.Template
		}
	}
	return pods
}
