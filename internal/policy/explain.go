package policy

import (
	"encoding/json"
	"strings"
)

// Explanation is a decision with all that led to it, as the policy simulator
// shows it (IAM API, EvaluationResult).
type Explanation struct {
	Decision Decision
	// Matches are the statements that decided: those that deny when one does,
	// otherwise all that allow.
	Matches []Match
	// BoundaryAllows is what the boundary alone says; true when there is none.
	BoundaryAllows bool
	// Identity and Resource are what these policies alone say.
	Identity, Resource Effect
	// Missing are the condition keys that statements about the action and the
	// resource ask for and that the request does not have, as they are written.
	Missing []string
}

// Effect is what policies of one type say about a request.
type Effect uint8

const (
	ImplicitDeny Effect = iota
	Allow
	ExplicitDeny
)

// Match is a statement, by its index in its policy.
type Match struct {
	Policy    *Policy
	Statement int
}

// Explain evaluates as Evaluate does, and looks at every statement.
func Explain(r *Request, in *Input) Explanation {
	x := Explanation{Decision: Evaluate(r, in), BoundaryAllows: true}
	q := query{principal: &r.Principal, action: lowerAction(nil, r.Action), resource: r.Resource}
	e := explainer{q: &q, ctx: r.Context, missing: map[string]bool{}}
	if e.ctx == nil {
		e.ctx = noContext{}
	}
	x.Identity = e.look(in.Identity...)
	var boundary, session Effect
	if in.Boundary != nil {
		// What a boundary allows grants nothing, so it is no match.
		allows := len(e.allows)
		boundary = e.look(in.Boundary)
		e.allows, x.BoundaryAllows = e.allows[:allows], boundary == Allow
	}
	if in.Session != nil {
		allows := len(e.allows)
		session = e.look(in.Session...)
		e.allows = e.allows[:allows]
	}
	if in.Resource != nil {
		x.Resource = e.look(in.Resource)
	}
	x.Missing = e.names
	switch {
	case x.Identity == ExplicitDeny || boundary == ExplicitDeny || session == ExplicitDeny || x.Resource == ExplicitDeny:
		x.Matches = e.denies
	default:
		x.Matches = e.allows
	}
	return x
}

// explainer gathers what statements say to one request.
type explainer struct {
	q              *query
	ctx            Context
	allows, denies []Match
	missing        map[string]bool
	names          []string
}

func (e *explainer) look(ps ...*Policy) Effect {
	out := ImplicitDeny
	for _, p := range ps {
		for i := range p.statements {
			s := &p.statements[i]
			if s.principals != nil && s.principals.match(e.q.principal) == unnamed || s.actions.has(&e.q.action) == s.notActions {
				continue
			}
			if s.resources != nil && matchAny(s.resources, e.q.resource, e.ctx) == s.notResources && !s.variable() {
				continue
			}
			s.eachKey(func(key, name string) {
				if v, ok := e.ctx.Lookup(key); (!ok || len(v) == 0) && !e.missing[key] {
					e.missing[key] = true
					e.names = append(e.names, name)
				}
			})
			switch {
			case !s.applies(e.q, e.ctx):
			case s.deny:
				out = ExplicitDeny
				e.denies = append(e.denies, Match{p, i})
			default:
				out = max(out, Allow)
				e.allows = append(e.allows, Match{p, i})
			}
		}
	}
	return out
}

// variable reports whether a resource of the statement depends on the request.
func (s *statement) variable() bool {
	for i := range s.resources {
		if s.resources[i].form == formVariable {
			return true
		}
	}
	return false
}

// Position is a place in a document's text: the line and the character in it,
// both from 1.
type Position struct{ Line, Column int }

// Positions tells where a statement begins, behind its opening brace, and where
// it ends, behind its closing one, as the policy simulator counts.
func (p *Policy) Positions(statement int) (start, end Position) {
	d := json.NewDecoder(strings.NewReader(p.raw))
	// Path of the token just read: depth 1 is the document, and the statements
	// lie at depth 2, or at depth 3 in a list.
	depth, base, seen := 0, 0, -1
	member := false // the next token at depth 1 is a member's name
	for {
		t, err := d.Token()
		if err != nil {
			return start, end // the text was parsed before: not reached
		}
		if base == 0 && depth == 1 {
			if member = !member; member && t == "Statement" {
				switch v, _ := d.Token(); v {
				case json.Delim('['):
					depth, base = 2, 2
				case json.Delim('{'):
					depth, base, seen = 2, 1, 0
					start = p.position(d.InputOffset())
				}
				continue
			}
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			if base == 2 && depth == base {
				if seen++; seen == statement {
					start = p.position(d.InputOffset())
				}
			}
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
			if base > 0 && depth == base && seen == statement {
				return start, p.position(d.InputOffset())
			}
		}
	}
}

func (p *Policy) position(offset int64) Position {
	before := p.raw[:offset]
	line := strings.LastIndexByte(before, '\n') + 1
	return Position{Line: 1 + strings.Count(before, "\n"), Column: 1 + len([]rune(before[line:]))}
}
