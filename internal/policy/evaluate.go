package policy

// Request is what is asked.
type Request struct {
	Principal Principal
	Action    string // "s3:GetObject", in any case
	Resource  string // ARN or "*"
	Context   Context
}

// Input are the policies that apply to a request.
type Input struct {
	// Identity are the policies of the principal: inline, managed, of groups.
	Identity []*Policy
	// Boundary is the permissions boundary, or nil.
	Boundary *Policy
	// Session are the session policies; nil when there are none. When there are
	// some, or the list is empty and not nil, one of them must allow.
	Session []*Policy
	// Resource is the policy of the resource, or nil, and ResourceAccount the
	// account that owns it. An empty account is the principal's own.
	Resource        *Policy
	ResourceAccount string
	// Trust says that Resource is a role's trust policy, which must allow
	// whatever other policies say.
	Trust bool
}

// verdict is what policies of one type say.
type verdict struct {
	effect    effect
	policy    *Policy
	statement int   // index in policy
	reach     reach // of resource policies: the strongest that allows
}

type effect uint8

const (
	silent effect = iota
	allows
	denies
)

// query is a request as statements look at it. The context goes beside it: what
// an interface's method may keep would drag the action to the heap with it.
type query struct {
	principal *Principal
	action    action
	resource  string
}

// maxAction is the room for an action that needs no allocation; the longest of
// AWS has 64 bytes.
const maxAction = 128

// Evaluate decides (IAM user guide, "Policy evaluation logic"): an explicit
// deny anywhere wins. In one account, identity or resource policy must allow,
// across accounts both. What they allow, boundary and session policies must
// allow as well, unless the resource policy names the caller itself.
func Evaluate(r *Request, in *Input) Decision {
	var room [maxAction]byte
	q := query{principal: &r.Principal, action: lowerAction(room[:0], r.Action), resource: r.Resource}
	ctx := r.Context
	if ctx == nil {
		ctx = noContext{}
	}
	own := in.ResourceAccount == "" || in.ResourceAccount == r.Principal.AccountID

	var resource verdict
	if in.Resource != nil {
		if resource = in.Resource.resourceVerdict(&q, ctx); resource.effect == denies {
			return decide(DeniedByResource, resource, in.Trust)
		}
	}
	switch p := &r.Principal; {
	case p.Service != "" || p.Anonymous || p.Federated != "":
		return onlyResource(resource, in.Trust)
	case p.Root && own && !in.Trust:
		return Decision{Allowed: true, Reason: AllowedAsRoot, Statement: -1}
	case p.Root:
		// Root has no policies of its own: what names the account names root.
		return onlyResource(resource, in.Trust)
	}
	return q.member(ctx, in, resource, own)
}

// onlyResource decides for a principal that has no policies.
func onlyResource(resource verdict, trust bool) Decision {
	if resource.effect == allows {
		return decide(AllowedByResource, resource, trust)
	}
	return decide(NoResourceAllow, resource, trust)
}

// member decides for a user or session of an account.
func (q *query) member(ctx Context, in *Input, resource verdict, own bool) Decision {
	identity := q.verdict(ctx, in.Identity)
	if identity.effect == denies {
		return decide(DeniedByIdentity, identity, false)
	}
	boundary := verdict{effect: allows}
	if in.Boundary != nil {
		if boundary = in.Boundary.verdict(q, ctx); boundary.effect == denies {
			return decide(DeniedByBoundary, boundary, false)
		}
	}
	session := verdict{effect: allows}
	if in.Session != nil {
		if session = q.verdict(ctx, in.Session); session.effect == denies {
			return decide(DeniedBySession, session, false)
		}
	}
	granted := own && resource.effect == allows
	if granted && resource.reach == directly {
		return decide(AllowedByResource, resource, in.Trust)
	}
	granted = granted && resource.reach == byRole
	switch {
	case in.Trust && resource.effect != allows:
		return decide(NoResourceAllow, resource, true)
	case !granted && identity.effect != allows:
		return decide(NoIdentityAllow, identity, false)
	case boundary.effect != allows:
		return decide(NoBoundaryAllow, boundary, false)
	case session.effect != allows:
		return decide(NoSessionAllow, session, false)
	case !own && resource.effect != allows:
		return decide(NoResourceAllow, resource, in.Trust)
	case granted || in.Trust:
		return decide(AllowedByResource, resource, in.Trust)
	}
	return decide(AllowedByIdentity, identity, false)
}

// verdict is what several policies say together.
func (q *query) verdict(ctx Context, ps []*Policy) verdict {
	var out verdict
	for _, p := range ps {
		switch v := p.verdict(q, ctx); v.effect {
		case denies:
			return v
		case allows:
			if out.effect == silent {
				out = v
			}
		}
	}
	return out
}

// verdict is what an identity policy says.
func (p *Policy) verdict(q *query, ctx Context) verdict {
	var out verdict
	for i := range p.statements {
		s := &p.statements[i]
		if out.effect == allows && !s.deny || !s.applies(q, ctx) {
			continue
		}
		if s.deny {
			return verdict{effect: denies, policy: p, statement: i}
		}
		out = verdict{effect: allows, policy: p, statement: i}
	}
	return out
}

// resourceVerdict is what a resource policy says. Of several statements that
// allow, the one with the strongest reach counts.
func (p *Policy) resourceVerdict(q *query, ctx Context) verdict {
	var out verdict
	for i := range p.statements {
		s := &p.statements[i]
		if s.principals == nil {
			continue
		}
		reach := s.principals.match(q.principal)
		if reach == unnamed || !s.deny && reach <= out.reach || !s.applies(q, ctx) {
			continue
		}
		if s.deny {
			return verdict{effect: denies, policy: p, statement: i}
		}
		out = verdict{effect: allows, policy: p, statement: i, reach: reach}
	}
	return out
}
