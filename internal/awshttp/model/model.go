// Package model knows AWS's published service models: which operations exist
// and what a valid input looks like. It stands in the decode step of an HTTP
// call: an input that violates its model is answered as AWS's front end does,
// before the service sees it.
//
// The data is derived from the models that AWS publishes with botocore
// (Apache-2.0); see generate.
package model

//go:generate go run ./generate BOTOCORE_DATA_DIR

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"sync"
	"unicode/utf8"
)

//go:embed data/*.json.gz
var data embed.FS

// Model is the model of one service.
type Model struct {
	operations map[string]string
	shapes     map[string]*shape
	errors     map[string][]string
}

type shape struct {
	Type      string            `json:"t"`
	Required  []string          `json:"r"`
	Members   map[string]string `json:"m"`
	Elem      string            `json:"e"`
	Key       string            `json:"k"`
	Min       *int64            `json:"n"`
	Max       *int64            `json:"x"`
	Pattern   string            `json:"p"`
	Enum      []string          `json:"v"`
	Sensitive bool              `json:"s"`

	once    sync.Once
	pattern *regexp.Regexp
}

// Load reads the model of a service ("athena").
func Load(service string) (*Model, error) {
	raw, err := data.ReadFile("data/" + service + ".json.gz")
	if err != nil {
		return nil, fmt.Errorf("no model of service %s: %w", service, err)
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("reading the model of %s: %w", service, err)
	}
	var d struct {
		Operations map[string]string
		Shapes     map[string]*shape
		Errors     map[string][]string
	}
	if err := json.NewDecoder(z).Decode(&d); err != nil {
		return nil, fmt.Errorf("reading the model of %s: %w", service, err)
	}
	return &Model{operations: d.Operations, shapes: d.Shapes, errors: d.Errors}, nil
}

// Operations lists the service's operations in order.
func (m *Model) Operations() []string {
	out := make([]string, 0, len(m.operations))
	for name := range m.operations {
		out = append(out, name)
	}
	sort.Strings(out)
	return out
}

// Has reports whether AWS knows the operation.
func (m *Model) Has(operation string) bool {
	_, ok := m.operations[operation]
	return ok
}

// Errors are the error codes that an operation's model names.
func (m *Model) Errors(operation string) []string { return m.errors[operation] }

// Minimal makes the smallest input that an operation's model accepts: what is
// required, and nothing else. A text is the first of texts that satisfies its
// constraints; numbers are as small as they may be.
func (m *Model) Minimal(operation string, texts []string) (map[string]any, error) {
	out, err := m.minimal(m.operations[operation], "", texts)
	obj, _ := out.(map[string]any)
	return obj, err
}

func (m *Model) minimal(name, path string, texts []string) (any, error) {
	s := m.shapes[name]
	if s == nil {
		return map[string]any{}, nil
	}
	switch s.Type {
	case "structure":
		out := map[string]any{}
		for _, r := range s.Required {
			x, err := m.minimal(s.Members[r], join(path, r), texts)
			if err != nil {
				return nil, err
			}
			out[r] = x
		}
		return out, nil
	case "list":
		x, err := m.minimal(s.Elem, path+".1.member", texts)
		return []any{x}, err
	case "map":
		return map[string]any{}, nil
	case "string":
		for _, x := range append(s.Enum, texts...) {
			v := validator{m: m}
			if v.text(s, x, path); len(v.found) == 0 {
				return x, nil
			}
		}
		return nil, fmt.Errorf("no text satisfies %s of shape %s", path, name)
	case "boolean":
		return true, nil
	case "timestamp":
		return json.Number("1700000000"), nil
	}
	n := int64(1)
	if s.Min != nil {
		n = max(n, *s.Min)
	}
	return json.Number(fmt.Sprint(n)), nil
}

// Prune removes from an input in its decoded wire form what the operation's
// model does not name, to the letter. AWS's front end does not see such a
// member; one that reached a handler would have escaped Validate.
func (m *Model) Prune(operation string, in map[string]any) { m.prune(m.operations[operation], in) }

func (m *Model) prune(name string, value any) {
	s := m.shapes[name]
	if s == nil {
		return
	}
	switch v := value.(type) {
	case map[string]any:
		for k, x := range v {
			ref := s.Elem
			if s.Type == "structure" {
				if ref = s.Members[k]; ref == "" {
					delete(v, k)
					continue
				}
			}
			m.prune(ref, x)
		}
	case []any:
		for _, x := range v {
			m.prune(s.Elem, x)
		}
	}
}

// maxViolations is how many violations one answer lists; AWS lists all, this
// bounds the answer to a hostile input.
const maxViolations = 20

// Validate checks an input in its decoded wire form (maps, slices, strings,
// json.Number, bools) against the operation's model. It returns AWS's message,
// "1 validation error detected: …", or "" for a valid input.
func (m *Model) Validate(operation string, in map[string]any) string {
	name := m.operations[operation]
	if name == "" {
		return ""
	}
	v := validator{m: m}
	v.walk(name, in, "")
	if len(v.found) == 0 {
		return ""
	}
	sort.Strings(v.found)
	noun := "errors"
	if len(v.found) == 1 {
		noun = "error"
	}
	return fmt.Sprintf("%d validation %s detected: %s", len(v.found), noun, strings.Join(v.found, "; "))
}

type validator struct {
	m     *Model
	found []string
}

// shown is a value in a message; long or secret ones are left out.
func shown(s *shape, value string) string {
	if s.Sensitive || len(value) > 100 || strings.ContainsAny(value, "\n\r") {
		return "Value"
	}
	return "Value '" + value + "'"
}

func (v *validator) add(format string, args ...any) {
	if len(v.found) < maxViolations {
		v.found = append(v.found, fmt.Sprintf(format, args...))
	}
}

func (v *validator) walk(name string, value any, path string) {
	s := v.m.shapes[name]
	if s == nil || len(v.found) >= maxViolations {
		return
	}
	switch s.Type {
	case "structure":
		obj, ok := value.(map[string]any)
		if !ok {
			return
		}
		for _, r := range s.Required {
			if obj[r] == nil {
				v.add("Value null at '%s' failed to satisfy constraint: Member must not be null", join(path, r))
			}
		}
		for member, ref := range s.Members {
			if x := obj[member]; x != nil {
				v.walk(ref, x, join(path, member))
			}
		}
	case "list":
		list, ok := value.([]any)
		if !ok {
			return
		}
		v.length(s, int64(len(list)), "Value", path)
		for i, x := range list {
			v.walk(s.Elem, x, fmt.Sprintf("%s.%d.member", path, i+1))
		}
	case "map":
		obj, ok := value.(map[string]any)
		if !ok {
			return
		}
		v.length(s, int64(len(obj)), "Value", path)
		for k, x := range obj {
			v.walk(s.Key, k, path+".key")
			v.walk(s.Elem, x, path+"."+k+".member")
		}
	case "string":
		if str, ok := value.(string); ok {
			v.text(s, str, path)
		}
	case "integer", "long":
		v.number(s, value, path)
	}
}

func (v *validator) length(s *shape, n int64, what, path string) {
	if s.Min != nil && n < *s.Min {
		v.add("%s at '%s' failed to satisfy constraint: Member must have length greater than or equal to %d", what, path, *s.Min)
	}
	if s.Max != nil && n > *s.Max {
		v.add("%s at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", what, path, *s.Max)
	}
}

// javaEscape is a character by its number as the models write it.
var javaEscape = regexp.MustCompile(`\\u([0-9A-Fa-f]{4})`)

// Compile compiles a model's pattern, which is Java's and must match all of a
// text. It fails for what Go's engine cannot express.
func Compile(pattern string) (*regexp.Regexp, error) {
	return regexp.Compile(`\A(?:` + javaEscape.ReplaceAllString(pattern, `\x{$1}`) + `)\z`)
}

// compiled compiles a pattern of the embedded data, which the generator has
// compiled before.
func compiled(pattern string) *regexp.Regexp {
	p, err := Compile(pattern)
	if err != nil {
		panic(fmt.Sprintf("model: the embedded pattern %s: %v", pattern, err))
	}
	return p
}

func (v *validator) text(s *shape, str, path string) {
	what := shown(s, str)
	v.length(s, int64(utf8.RuneCountInString(str)), what, path)
	if s.Pattern != "" {
		s.once.Do(func() { s.pattern = compiled(s.Pattern) })
		if !s.pattern.MatchString(str) {
			v.add("%s at '%s' failed to satisfy constraint: Member must satisfy regular expression pattern: %s", what, path, s.Pattern)
		}
	}
	if len(s.Enum) > 0 {
		for _, e := range s.Enum {
			if e == str {
				return
			}
		}
		v.add("%s at '%s' failed to satisfy constraint: Member must satisfy enum value set: [%s]", what, path, strings.Join(s.Enum, ", "))
	}
}

func (v *validator) number(s *shape, value any, path string) {
	var n int64
	switch x := value.(type) {
	case json.Number:
		i, err := x.Int64()
		if err != nil {
			return
		}
		n = i
	case string: // the query protocol
		if _, err := fmt.Sscan(x, &n); err != nil {
			return
		}
	default:
		return
	}
	if s.Min != nil && n < *s.Min {
		v.add("Value '%d' at '%s' failed to satisfy constraint: Member must have value greater than or equal to %d", n, path, *s.Min)
	}
	if s.Max != nil && n > *s.Max {
		v.add("Value '%d' at '%s' failed to satisfy constraint: Member must have value less than or equal to %d", n, path, *s.Max)
	}
}

// join appends a member to a path, in the lower camel case of AWS's messages.
func join(path, member string) string {
	if member != "" && member[0] >= 'A' && member[0] <= 'Z' {
		member = string(member[0]+'a'-'A') + member[1:]
	}
	if path == "" {
		return member
	}
	return path + "." + member
}
