// Replays the sequences of field_ownership.json through Kubernetes' own field manager and writes down what it made of them.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/managedfields/managedfieldstest"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/yaml"
)

type step struct {
	Do      string         `json:"do"`
	Manager string         `json:"manager"`
	Force   bool           `json:"force,omitempty"`
	Object  map[string]any `json:"object"`
}
type outcome struct {
	Conflicts []string                  `json:"conflicts,omitempty"`
	Live      map[string]any            `json:"live"`
	Owners    map[string]map[string]any `json:"owners"`
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

const metadata = `{"type":"object","properties":{"name":{"type":"string"},"namespace":{"type":"string"},"generation":{"type":"integer"},"creationTimestamp":{"type":"string"},"resourceVersion":{"type":"string"},"managedFields":{"type":"array","x-kubernetes-list-type":"atomic","items":{"type":"object","x-kubernetes-preserve-unknown-fields":true}},"annotations":{"type":"object","additionalProperties":{"type":"string"}},"labels":{"type":"object","additionalProperties":{"type":"string"}}}}`

func converter(crd, version string) (managedfields.TypeConverter, schema.GroupVersionKind) {
	text, err := os.ReadFile(crd)
	must(err)
	var document struct {
		Spec struct {
			Group string `json:"group"`
			Names struct {
				Kind string `json:"kind"`
			} `json:"names"`
			Versions []struct {
				Name   string `json:"name"`
				Schema struct {
					OpenAPIV3Schema json.RawMessage `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	must(yaml.Unmarshal(text, &document))
	for _, each := range document.Spec.Versions {
		if each.Name != version {
			continue
		}
		found := &spec.Schema{}
		must(json.Unmarshal(each.Schema.OpenAPIV3Schema, found))
		meta := spec.Schema{}
		must(json.Unmarshal([]byte(metadata), &meta))
		found.Properties["metadata"] = meta
		gvk := schema.GroupVersionKind{Group: document.Spec.Group, Version: version, Kind: document.Spec.Names.Kind}
		found.AddExtension("x-kubernetes-group-version-kind", []any{map[string]any{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind}})
		made, err := managedfields.NewTypeConverter(map[string]*spec.Schema{gvk.Kind: found}, false)
		must(err)
		return made, gvk
	}
	panic("no version " + version)
}

func main() {
	var all []struct {
		Kind     string    `json:"kind"`
		Steps    []step    `json:"steps"`
		Outcomes []outcome `json:"outcomes"`
	}
	text, err := os.ReadFile(os.Args[1])
	must(err)
	must(json.Unmarshal(text, &all))
	isvc, isvcKind := converter("isvc.yaml", "v1beta1")
	route, routeKind := converter("httproute.yaml", "v1")
	for i := range all {
		with, kind := isvc, isvcKind
		if all[i].Kind == "HTTPRoute" {
			with, kind = route, routeKind
		}
		manager := managedfieldstest.NewTestFieldManager(with, kind)
		all[i].Outcomes = nil
		for _, each := range all[i].Steps {
			object := (&unstructured.Unstructured{Object: each.Object}).DeepCopy()
			var result outcome
			if each.Do == "apply" {
				err = manager.Apply(object, each.Manager, each.Force)
			} else {
				err = manager.Update(object, each.Manager)
			}
			if err != nil {
				status, ok := err.(errors.APIStatus)
				if !ok || status.Status().Reason != metav1.StatusReasonConflict {
					panic(fmt.Sprint(i, " ", err))
				}
				for _, cause := range status.Status().Details.Causes {
					result.Conflicts = append(result.Conflicts, strings.SplitN(cause.Message, "\"", 3)[1]+" "+cause.Field)
				}
			}
			live := manager.Live().(*unstructured.Unstructured).DeepCopy()
			result.Owners = map[string]map[string]any{}
			for _, entry := range live.GetManagedFields() {
				fields := map[string]any{}
				must(json.Unmarshal(entry.FieldsV1.Raw, &fields))
				result.Owners[entry.Manager+"/"+string(entry.Operation)] = fields
			}
			live.SetManagedFields(nil)
			result.Live = live.Object
			all[i].Outcomes = append(all[i].Outcomes, result)
		}
	}
	out, err := json.Marshal(all)
	must(err)
	must(os.WriteFile(os.Args[1], append(out, '\n'), 0o644))
}
