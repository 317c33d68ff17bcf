package iam

import (
	"errors"
	"fmt"
	"sync"

	"spoor/internal/policy"
)

// compile parses the inline policies, in the order of their names.
func (g *grants) compile() error {
	g.compiled = nil
	for _, name := range sortedKeys(g.Inline) {
		p, err := policy.Parse(g.Inline[name], policy.Identity)
		if err != nil {
			return fmt.Errorf("policy %s: %w", name, err)
		}
		g.compiled = append(g.compiled, p)
	}
	return nil
}

// compile parses the default version.
func (p *managedPolicy) compile() error {
	v := p.version(p.Default)
	if v == nil {
		return fmt.Errorf("the default version %s does not exist", p.Default)
	}
	var err error
	p.compiled, err = policy.Parse(v.Document, policy.Identity)
	return err
}

// The cache of session and resource policies is bounded in number and in bytes
// of text; a compiled policy takes a few times its text.
const (
	maxDocuments     = 4096
	maxDocumentBytes = 8 << 20
)

// documents keeps the parsed form of policies that arrive as text with a call:
// session policies and the policies of resources. Text and kind determine the
// result, so it never goes stale.
type documents struct {
	mu     sync.RWMutex
	parsed map[documentKey]*policy.Policy
	size   int // of the texts
}

type documentKey struct {
	text string
	kind policy.Kind
}

func newDocuments() *documents { return &documents{parsed: map[documentKey]*policy.Policy{}} }

// get parses a document, or finds it parsed.
func (d *documents) get(text string, kind policy.Kind) (*policy.Policy, error) {
	k := documentKey{text, kind}
	d.mu.RLock()
	p := d.parsed[k]
	d.mu.RUnlock()
	if p != nil {
		return p, nil
	}
	p, err := policy.Parse(text, kind)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.parsed) >= maxDocuments || d.size+len(text) > maxDocumentBytes {
		clear(d.parsed)
		d.size = 0
	}
	if d.parsed[k] == nil {
		d.size += len(text)
	}
	d.parsed[k] = p
	return p, nil
}

// checkDocument parses a policy that a caller gave and turns what is wrong
// with it into IAM's error.
func (s *api) checkDocument(text *string, kind policy.Kind, limit int) error {
	if n := significant(str(text)); n > limit {
		return limitExceeded("PolicySize", limit)
	}
	_, err := s.d.docs.get(str(text), kind)
	if errors.Is(err, policy.ErrMalformed) {
		return malformedPolicy("%s", trimMalformed(err))
	}
	return err
}

func trimMalformed(err error) string {
	const prefix = "malformed policy: "
	text := err.Error()
	for i := 0; i+len(prefix) <= len(text); i++ {
		if text[i:i+len(prefix)] == prefix {
			return text[:i] + text[i+len(prefix):]
		}
	}
	return text
}

// significant counts a document's characters without white space, as IAM's
// size quotas do.
func significant(s string) int {
	n := 0
	for _, r := range s {
		switch r {
		case ' ', '\t', '\r', '\n':
		default:
			n++
		}
	}
	return n
}
