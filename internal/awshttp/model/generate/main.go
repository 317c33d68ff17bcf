// Command generate reduces the service models that AWS publishes with botocore
// (Apache-2.0) to what this server needs of them: which operations exist, which
// input members are required, and the constraints on values. It writes one
// file a service into ../data.
//
// Usage: go run ./generate BOTOCORE_DATA_DIR
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"spoor/internal/awshttp/model"
)

// services are the models to keep, by botocore's directory name.
var services = []string{"athena", "cloudtrail", "cloudtrail-data", "glue", "iam", "keyspaces", "sts"}

// named are models of which the operations' names are kept only.
var named = []string{"s3"}

type source struct {
	Operations map[string]struct {
		Input  *struct{ Shape string }
		Errors []struct{ Shape string }
	}
	Shapes map[string]sourceShape
}

type sourceShape struct {
	Type      string
	Required  []string
	Members   map[string]struct{ Shape string }
	Member    *struct{ Shape string }
	Key       *struct{ Shape string }
	Value     *struct{ Shape string }
	Min, Max  *json.Number
	Pattern   string
	Enum      []string
	Sensitive bool
	Error     struct{ Code string }
}

// code is an error's code on the wire: its shape's name but for the query
// protocol, which may give another one.
func (s sourceShape) code(name string) string {
	if s.Error.Code != "" {
		return s.Error.Code
	}
	return name
}

type shape struct {
	Type      string            `json:"t"`
	Required  []string          `json:"r,omitempty"`
	Members   map[string]string `json:"m,omitempty"`
	Elem      string            `json:"e,omitempty"`
	Key       string            `json:"k,omitempty"`
	Min       *int64            `json:"n,omitempty"`
	Max       *int64            `json:"x,omitempty"`
	Pattern   string            `json:"p,omitempty"`
	Enum      []string          `json:"v,omitempty"`
	Sensitive bool              `json:"s,omitempty"`
}

type reduced struct {
	Operations map[string]string `json:"operations"`
	Shapes     map[string]shape  `json:"shapes"`
	// Errors are the codes that each operation's model names.
	Errors map[string][]string `json:"errors"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generate BOTOCORE_DATA_DIR")
		os.Exit(2)
	}
	for _, s := range slices.Concat(services, named) {
		if err := reduce(os.Args[1], s, slices.Contains(services, s)); err != nil {
			fmt.Fprintf(os.Stderr, "generate: %s: %v\n", s, err)
			os.Exit(1)
		}
	}
}

func reduce(dir, service string, shapes bool) error {
	files, err := filepath.Glob(filepath.Join(dir, service, "*", "service-2.json*"))
	if err != nil || len(files) == 0 {
		return errors.Join(err, errors.New("no model found"))
	}
	sort.Strings(files)
	raw, err := read(files[len(files)-1])
	if err != nil {
		return err
	}
	var src source
	if err := json.Unmarshal(raw, &src); err != nil {
		return err
	}
	out := reduced{Operations: map[string]string{}, Shapes: map[string]shape{}, Errors: map[string][]string{}}
	for name, op := range src.Operations {
		out.Operations[name] = ""
		for _, e := range op.Errors {
			out.Errors[name] = append(out.Errors[name], src.Shapes[e.Shape].code(e.Shape))
		}
		if op.Input != nil && shapes {
			out.Operations[name] = op.Input.Shape
			if err := keep(&src, &out, op.Input.Shape); err != nil {
				return err
			}
		}
	}
	b, err := json.Marshal(out)
	if err != nil {
		return err
	}
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join("data", service+".json.gz"), z.Bytes(), 0o644)
}

func read(name string) ([]byte, error) {
	raw, err := os.ReadFile(name)
	if err != nil || filepath.Ext(name) != ".gz" {
		return raw, err
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func keep(src *source, out *reduced, name string) error {
	if _, done := out.Shapes[name]; done {
		return nil
	}
	in, ok := src.Shapes[name]
	if !ok {
		return fmt.Errorf("shape %s is missing", name)
	}
	s := shape{Type: in.Type, Required: in.Required, Enum: in.Enum, Min: number(in.Min), Max: number(in.Max), Sensitive: in.Sensitive}
	// Patterns are Java's; the few that Go's engine cannot express are left to
	// the operation itself.
	if in.Pattern != "" {
		if _, err := model.Compile(in.Pattern); err == nil {
			s.Pattern = in.Pattern
		}
	}
	out.Shapes[name] = s
	refs := map[string]bool{}
	if len(in.Members) > 0 {
		s.Members = map[string]string{}
		for m, r := range in.Members {
			s.Members[m] = r.Shape
			refs[r.Shape] = true
		}
	}
	if in.Member != nil {
		s.Elem = in.Member.Shape
		refs[s.Elem] = true
	}
	if in.Key != nil && in.Value != nil {
		s.Key, s.Elem = in.Key.Shape, in.Value.Shape
		refs[s.Key], refs[s.Elem] = true, true
	}
	out.Shapes[name] = s
	for r := range refs {
		if err := keep(src, out, r); err != nil {
			return err
		}
	}
	return nil
}

func number(n *json.Number) *int64 {
	if n == nil {
		return nil
	}
	v, err := n.Int64()
	if err != nil {
		return nil
	}
	return &v
}
