// Package policy parses IAM policy documents and decides on requests by them.
// It is the authorise step of a call's path, without a store: whoever asks
// gives the policies that apply and the request's context. A document is
// compiled once and then evaluated without parsing, nearly without allocating.
//
// Source: IAM user guide, "IAM JSON policy elements reference", "Grammar of the
// IAM JSON policy language" and "Policy evaluation logic".
package policy

import (
	"bytes"
	"encoding/json"
	"sort"
	"strings"
	"unicode/utf8"
)

// Limits of a document. AWS's own are smaller and depend on where a policy is
// attached; the services check those.
const (
	MaxDocument   = 32 << 10 // bytes; a bucket policy may have 20 KB
	maxStatements = 512
	maxDepth      = 16
)

// Kind says which elements a document may have.
type Kind uint8

const (
	// Identity policies (also boundaries and session policies) name no
	// principal.
	Identity Kind = iota
	// Resource policies name one in each statement. A statement that is only
	// about actions of STS is held to the rules of Trust.
	Resource
	// Trust policies are a role's: they name a principal and no resource, and
	// only actions of STS.
	Trust
)

// Version is the version element of documents that may hold variables, and
// legacyVersion the default one, in which they are plain text (IAM user guide,
// "IAM JSON policy elements: Version").
const (
	version       = "2012-10-17"
	legacyVersion = "2008-10-17"
)

// Policy is a compiled document. It does not change and may be used by
// concurrent evaluations.
type Policy struct {
	ID         string
	Version    string
	statements []statement
	raw        string
	root       object
}

// Document is the text that the policy was parsed from.
func (p *Policy) Document() string { return p.raw }

// Parse compiles a document. Its errors are *SyntaxError.
func Parse(text string, kind Kind) (*Policy, error) {
	if len(text) > MaxDocument {
		return nil, malformed(TooLong, "more than %d bytes", MaxDocument)
	}
	root, err := decode(text)
	if err != nil {
		return nil, err
	}
	p := &Policy{raw: text, Version: legacyVersion, root: root}
	var list []any
	for _, m := range root {
		switch m.name {
		case "Version":
			s, ok := m.value.(string)
			if !ok || s != version && s != legacyVersion {
				return nil, malformed(BadVersion, "")
			}
			p.Version = s
		case "Id":
			s, ok := m.value.(string)
			if !ok {
				return nil, malformed(BadGrammar, "Id must be a string")
			}
			p.ID = s
		case "Statement":
			switch x := m.value.(type) {
			case []any:
				list = x
			case object:
				list = []any{x}
			default:
				return nil, malformed(BadGrammar, "Statement must be an object or a list of objects")
			}
		default:
			return nil, malformed(BadGrammar, "unknown element %q", m.name)
		}
	}
	if len(list) == 0 {
		return nil, malformed(BadGrammar, "there is no statement")
	}
	if len(list) > maxStatements {
		return nil, malformed(TooLong, "more than %d statements", maxStatements)
	}
	if err := p.compile(list, kind); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Policy) compile(list []any, kind Kind) error {
	c := compiler{variables: p.Version == version, kind: kind}
	sids := map[string]bool{"": true}
	p.statements = make([]statement, 0, len(list))
	for i, x := range list {
		obj, ok := x.(object)
		if !ok {
			return malformed(BadGrammar, "statement %d is not an object", i+1)
		}
		s, err := c.statement(obj)
		if err != nil {
			return err
		}
		if s.sid != "" && sids[s.sid] {
			return malformed(RepeatedSid, "%q", s.sid)
		}
		sids[s.sid] = true
		p.statements = append(p.statements, s)
	}
	return nil
}

// object is a JSON object with its members in their order, so that the first
// fault that is reported is always the same.
type object []member

type member struct {
	name  string
	value any // string, bool, json.Number, nil, []any or object
}

// decode reads strict JSON: one object, no member twice, bounded depth.
func decode(text string) (object, error) {
	if !utf8.ValidString(text) {
		return nil, malformed(BadJSON, "it is not UTF-8")
	}
	// The decoder reads tokens and leaves it to its user to see the end.
	if !json.Valid([]byte(text)) {
		return nil, malformed(BadJSON, "")
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	v, err := decodeValue(d, 0)
	if err != nil {
		return nil, err
	}
	obj, ok := v.(object)
	if !ok {
		return nil, malformed(BadJSON, "it is not an object")
	}
	return obj, nil
}

func decodeValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, malformed(BadJSON, "it is nested deeper than %d", maxDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, malformed(BadJSON, "%v", err)
	}
	switch t {
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.Token()
		return list, err
	case json.Delim('{'):
		return decodeObject(d, depth)
	}
	return t, nil
}

func decodeObject(d *json.Decoder, depth int) (any, error) {
	obj, seen := object{}, map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, malformed(BadJSON, "%v", err)
		}
		name, ok := t.(string)
		if !ok || seen[name] {
			return nil, malformed(BadJSON, "%q is given twice", name)
		}
		seen[name] = true
		v, err := decodeValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		obj = append(obj, member{name, v})
	}
	_, err := d.Token()
	return obj, err
}

// Canonical prints the document without blanks and with its members sorted,
// for comparing two texts of one policy.
func (p *Policy) Canonical() (string, error) {
	var b bytes.Buffer
	if err := printValue(&b, p.root); err != nil {
		return "", err
	}
	return b.String(), nil
}

func printValue(b *bytes.Buffer, v any) error {
	switch x := v.(type) {
	case object:
		sorted := append(object(nil), x...)
		sort.Slice(sorted, func(i, j int) bool { return sorted[i].name < sorted[j].name })
		b.WriteByte('{')
		for i, m := range sorted {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := printScalar(b, m.name); err != nil {
				return err
			}
			b.WriteByte(':')
			if err := printValue(b, m.value); err != nil {
				return err
			}
		}
		b.WriteByte('}')
		return nil
	case []any:
		b.WriteByte('[')
		for i, e := range x {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := printValue(b, e); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	}
	return printScalar(b, v)
}

func printScalar(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the newline of Encode
	return nil
}

// ContextKeys are the condition keys that the document refers to, in conditions
// and variables, as they are written and in the order of their first use (IAM
// API, GetContextKeysForCustomPolicy).
func (p *Policy) ContextKeys() []string {
	var out []string
	seen := map[string]bool{}
	for i := range p.statements {
		p.statements[i].eachKey(func(key, name string) {
			if !seen[key] {
				seen[key] = true
				out = append(out, name)
			}
		})
	}
	return out
}

// OnlyService reports whether the policy names actions of one service only; a *
// is an action of every service.
func (p *Policy) OnlyService(name string) bool {
	for i := range p.statements {
		for service := range p.statements[i].actions.services {
			if service != name {
				return false
			}
		}
	}
	return true
}

// OnlyResources reports whether every resource that the policy names is
// accepted; S3 refuses a bucket policy about another bucket.
func (p *Policy) OnlyResources(accept func(arn string) bool) bool {
	for i := range p.statements {
		for _, r := range p.statements[i].resources {
			if !accept(r.text) {
				return false
			}
		}
	}
	return true
}
