package policy

// Diagnosis says of one statement of a resource policy how far it is about a
// request. The statement applies when all of it holds; otherwise what does not
// hold is why it does not.
type Diagnosis struct {
	Statement int // index in the policy
	Sid       string
	Deny      bool
	// Principal, Action and Resource are whether these elements, or NotPrincipal
	// and so on in their place, cover the request.
	Principal, Action, Resource bool
	// Conditions are all conditions of the statement.
	Conditions []ConditionDiagnosis
}

// ConditionDiagnosis is one key of one operator of a Condition element.
type ConditionDiagnosis struct {
	Operator, Key string   // as written
	Want          []string // as written
	Have          []string // of the request; nil when it does not have the key
	Holds         bool
}

// Applies reports whether the statement decides on the request.
func (d *Diagnosis) Applies() bool {
	return d.Misses() == 0
}

// Misses is how many of the statement's elements and conditions do not hold.
func (d *Diagnosis) Misses() int {
	n := 0
	for _, holds := range []bool{d.Principal, d.Action, d.Resource} {
		if !holds {
			n++
		}
	}
	for i := range d.Conditions {
		if !d.Conditions[i].Holds {
			n++
		}
	}
	return n
}

// Diagnose looks at every statement of a resource policy, in order. It is for
// telling somebody what to change; Evaluate decides.
func (p *Policy) Diagnose(r *Request) []Diagnosis {
	q := query{principal: &r.Principal, action: lowerAction(nil, r.Action), resource: r.Resource}
	ctx := r.Context
	if ctx == nil {
		ctx = noContext{}
	}
	out := make([]Diagnosis, 0, len(p.statements))
	for i := range p.statements {
		s := &p.statements[i]
		d := Diagnosis{Statement: i, Sid: s.sid, Deny: s.deny,
			Principal: s.principals == nil || s.principals.match(q.principal) != unnamed,
			Action:    s.actions.has(&q.action) != s.notActions,
			Resource:  s.resources == nil || matchAny(s.resources, q.resource, ctx) != s.notResources,
		}
		for j := range s.conditions {
			c := &s.conditions[j]
			x := ConditionDiagnosis{Operator: c.written, Key: c.name, Holds: c.holds(ctx)}
			for k := range c.operands {
				x.Want = append(x.Want, c.operands[k].text)
			}
			if have, ok := ctx.Lookup(c.key); ok && len(have) > 0 {
				x.Have = have
			}
			d.Conditions = append(d.Conditions, x)
		}
		out = append(out, d)
	}
	return out
}
