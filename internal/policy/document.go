// Package policy parses IAM policy documents and decides on requests by them.
// It is the authorise step of a call's path, without a store: whoever asks
// gives the policies that apply and the request's context. A document is
// compiled once and then evaluated without parsing or allocating.
//
// Source: IAM user guide, "IAM JSON policy elements reference" and "Policy
// evaluation logic".
package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
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
	// Identity policies name no principal.
	Identity Kind = iota
	// Resource policies (bucket policies, role trust) name one in each statement.
	Resource
)

// ErrMalformed is wrapped by every error of Parse.
var ErrMalformed = errors.New("malformed policy")

// Policy is a compiled document.
type Policy struct {
	ID         string
	Version    string
	statements []statement
	raw        string
}

// Document is the text that the policy was parsed from.
func (p *Policy) Document() string { return p.raw }

type statement struct {
	sid          string
	deny         bool
	actions      []pattern
	notActions   bool
	resources    []pattern
	notResources bool
	principals   *principals
	conditions   []condition
}

// principals is a Principal or NotPrincipal element.
type principals struct {
	not       bool
	any       bool
	aws       []string // ARNs, account ids, "*" is any
	service   []string
	federated []string
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Parse compiles a document. Variables (${aws:username}) are known only to
// Version 2012-10-17, as on AWS.
func Parse(text string, kind Kind) (*Policy, error) {
	if len(text) > MaxDocument {
		return nil, malformed("the document is longer than %d bytes", MaxDocument)
	}
	raw, err := decode(text)
	if err != nil {
		return nil, err
	}
	p := &Policy{raw: text, Version: "2008-10-17"}
	var list []any
	for k, v := range raw {
		switch k {
		case "Version":
			s, ok := v.(string)
			if !ok || s != "2012-10-17" && s != "2008-10-17" {
				return nil, malformed("Version must be 2012-10-17 or 2008-10-17")
			}
			p.Version = s
		case "Id":
			s, ok := v.(string)
			if !ok {
				return nil, malformed("Id must be a string")
			}
			p.ID = s
		case "Statement":
			switch x := v.(type) {
			case []any:
				list = x
			case map[string]any:
				list = []any{x}
			default:
				return nil, malformed("Statement must be an object or a list of objects")
			}
		default:
			return nil, malformed("unknown element %q", k)
		}
	}
	if len(list) == 0 {
		return nil, malformed("the policy has no statement")
	}
	if len(list) > maxStatements {
		return nil, malformed("the policy has more than %d statements", maxStatements)
	}
	sids := map[string]bool{}
	for i, x := range list {
		obj, ok := x.(map[string]any)
		if !ok {
			return nil, malformed("statement %d is not an object", i+1)
		}
		c := compiler{variables: p.Version == "2012-10-17", kind: kind}
		s, err := c.statement(obj)
		if err != nil {
			return nil, fmt.Errorf("statement %d: %w", i+1, err)
		}
		if s.sid != "" && sids[s.sid] {
			return nil, malformed("Statement IDs (SID) in a single policy must be unique")
		}
		sids[s.sid] = true
		p.statements = append(p.statements, s)
	}
	return p, nil
}

// decode reads strict JSON: one object, no duplicate members, bounded depth.
func decode(text string) (map[string]any, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	v, err := value(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, malformed("more than one JSON value")
	}
	obj, ok := v.(map[string]any)
	if !ok {
		return nil, malformed("the document is not a JSON object")
	}
	return obj, nil
}

func value(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, malformed("nested too deeply")
	}
	t, err := d.Token()
	if err != nil {
		return nil, malformed("not valid JSON: %v", err)
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if delim == '[' {
		list := []any{}
		for d.More() {
			v, err := value(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, end(d)
	}
	obj := map[string]any{}
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return nil, malformed("not valid JSON: %v", err)
		}
		name, ok := k.(string)
		if !ok {
			return nil, malformed("a member's name is not a string")
		}
		if _, twice := obj[name]; twice {
			return nil, malformed("%q is given twice", name)
		}
		if obj[name], err = value(d, depth+1); err != nil {
			return nil, err
		}
	}
	return obj, end(d)
}

func end(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return malformed("not valid JSON: %v", err)
	}
	return nil
}

// compiler compiles one statement.
type compiler struct {
	variables bool
	kind      Kind
}

func (c compiler) statement(obj map[string]any) (statement, error) {
	var s statement
	seen := map[string]bool{}
	for k, v := range obj {
		seen[k] = true
		var err error
		switch k {
		case "Sid":
			sid, ok := v.(string)
			if !ok {
				return s, malformed("Sid must be a string")
			}
			s.sid = sid
		case "Effect":
			if v != "Allow" && v != "Deny" {
				return s, malformed("Effect must be Allow or Deny")
			}
			s.deny = v == "Deny"
		case "Action", "NotAction":
			s.notActions = k == "NotAction"
			s.actions, err = c.actions(v)
		case "Resource", "NotResource":
			s.notResources = k == "NotResource"
			s.resources, err = c.resources(v)
		case "Principal", "NotPrincipal":
			if c.kind == Identity {
				return s, malformed("Policy document should not specify a principal.")
			}
			s.principals, err = principal(v)
			if s.principals != nil {
				s.principals.not = k == "NotPrincipal"
			}
		case "Condition":
			s.conditions, err = c.conditions(v)
		default:
			return s, malformed("unknown element %q", k)
		}
		if err != nil {
			return s, err
		}
	}
	return s, c.complete(s, seen)
}

func (c compiler) complete(s statement, seen map[string]bool) error {
	switch {
	case !seen["Effect"]:
		return malformed("Effect is missing")
	case seen["Action"] == seen["NotAction"]:
		return malformed("Policy statement must contain actions.")
	case seen["Resource"] && seen["NotResource"]:
		return malformed("Resource and NotResource cannot both be given")
	case c.kind == Identity && !seen["Resource"] && !seen["NotResource"]:
		return malformed("Policy statement must contain resources.")
	case seen["Principal"] && seen["NotPrincipal"]:
		return malformed("Principal and NotPrincipal cannot both be given")
	case c.kind == Resource && s.principals == nil:
		return malformed("Missing required field Principal")
	case s.principals != nil && s.principals.not && !s.deny:
		return malformed("Allow with NotPrincipal is not allowed.")
	}
	return nil
}

func stringsOf(what string, v any) ([]string, error) {
	switch x := v.(type) {
	case string:
		return []string{x}, nil
	case []any:
		out := make([]string, 0, len(x))
		for _, e := range x {
			s, ok := e.(string)
			if !ok {
				return nil, malformed("%s must be a string or a list of strings", what)
			}
			out = append(out, s)
		}
		return out, nil
	}
	return nil, malformed("%s must be a string or a list of strings", what)
}

func (c compiler) actions(v any) ([]pattern, error) {
	list, err := stringsOf("Action", v)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, malformed("Policy statement must contain actions.")
	}
	out := make([]pattern, 0, len(list))
	for _, a := range list {
		service, name, ok := strings.Cut(a, ":")
		if a != "*" && (!ok || service == "" || name == "" || strings.ContainsAny(a, " \t\n")) {
			return nil, malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
		}
		out = append(out, compilePattern(strings.ToLower(a), false))
	}
	return out, nil
}

func (c compiler) resources(v any) ([]pattern, error) {
	list, err := stringsOf("Resource", v)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, malformed("Policy statement must contain resources.")
	}
	out := make([]pattern, 0, len(list))
	for _, r := range list {
		if r != "*" && (!strings.HasPrefix(r, "arn:") || strings.Count(r, ":") < 5) {
			return nil, malformed("Resource %s must be in ARN format or \"*\".", r)
		}
		out = append(out, compilePattern(r, c.variables))
	}
	return out, nil
}

func principal(v any) (*principals, error) {
	if s, ok := v.(string); ok {
		if s != "*" {
			return nil, malformed("Invalid principal in policy")
		}
		return &principals{any: true}, nil
	}
	obj, ok := v.(map[string]any)
	if !ok || len(obj) == 0 {
		return nil, malformed("Invalid principal in policy")
	}
	p := &principals{}
	for k, x := range obj {
		list, err := stringsOf("Principal", x)
		if err != nil {
			return nil, err
		}
		switch k {
		case "AWS":
			for _, s := range list {
				if s == "*" {
					p.any = true
				} else if !accountID(s) && !strings.HasPrefix(s, "arn:") {
					return nil, malformed("Invalid principal in policy: \"AWS\":%q", s)
				}
			}
			p.aws = list
		case "Service":
			p.service = list
		case "Federated":
			p.federated = list
		case "CanonicalUser":
			return nil, malformed("Invalid principal in policy: canonical users do not exist here")
		default:
			return nil, malformed("Invalid principal in policy: %q", k)
		}
	}
	return p, nil
}

func accountID(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}

// Canonical prints the document with its members in a fixed order, for
// comparing two texts of one policy.
func (p *Policy) Canonical() (string, error) {
	var v any
	if err := json.Unmarshal([]byte(p.raw), &v); err != nil {
		return "", malformed("%v", err)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", malformed("%v", err)
	}
	return strings.TrimSpace(b.String()), nil
}
