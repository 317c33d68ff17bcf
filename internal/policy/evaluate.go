package policy

import (
	"fmt"
	"strings"
)

// Principal is who asks, as policies name it.
type Principal struct {
	ARN       string // of the user, the role session or root
	AccountID string
	// RoleARN is the role of a session, which a policy may name instead of the
	// session; empty for users.
	RoleARN string
	// Root is the account's root user: allowed everything in its own account
	// that no resource policy denies.
	Root bool
	// Service is a service principal ("cloudtrail.amazonaws.com").
	Service string
	// Federated is a web identity provider.
	Federated string
	// Anonymous is a caller without a credential.
	Anonymous bool
}

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
	// some, one of them must allow.
	Session []*Policy
	// Resource is the policy of the resource, or nil, and ResourceAccount the
	// account that owns it. An empty account is the principal's own.
	Resource        *Policy
	ResourceAccount string
	// Trust says that the resource policy alone decides (a role's trust
	// policy, for sts:AssumeRole in the same account).
	Trust bool
}

// Reason is why a decision came out as it did.
type Reason uint8

const (
	AllowedByIdentity Reason = iota
	AllowedByResource
	AllowedAsRoot
	DeniedByIdentity // explicit deny
	DeniedByBoundary
	DeniedBySession
	DeniedByResource
	NoIdentityAllow // implicit deny
	NoBoundaryAllow
	NoSessionAllow
	NoResourceAllow
)

// String names the reason as tests and logs print it.
func (r Reason) String() string {
	return [...]string{"allowed by an identity-based policy", "allowed by the resource policy", "allowed as root",
		"explicit deny in an identity-based policy", "explicit deny in a permissions boundary", "explicit deny in a session policy",
		"explicit deny in a resource-based policy", "no identity-based policy allows", "no permissions boundary allows",
		"no session policy allows", "no resource-based policy allows"}[r]
}

// Decision is an evaluation's result.
type Decision struct {
	Allowed bool
	Reason  Reason
	Sid     string // of the deciding statement, when there is one
}

// Message is AWS's text of a denial (IAM user guide, "Troubleshoot access
// denied error messages"). who is the principal's ARN.
func (d Decision) Message(who, action, resource string) string {
	if who == "" {
		who = "anonymous"
	}
	head := "User: " + who + " is not authorized to perform: " + action
	if resource != "" && resource != "*" {
		head += " on resource: " + resource
	} else if resource == "*" {
		head += " on resource: *"
	}
	because := func(kind string) string {
		return fmt.Sprintf("%s because no %s allows the %s action", head, kind, action)
	}
	deny := func(kind string) string { return head + " with an explicit deny in " + kind }
	switch d.Reason {
	case DeniedByIdentity:
		return deny("an identity-based policy")
	case DeniedByBoundary:
		return deny("a permissions boundary")
	case DeniedBySession:
		return deny("a session policy")
	case DeniedByResource:
		return deny("a resource-based policy")
	case NoBoundaryAllow:
		return because("permissions boundary")
	case NoSessionAllow:
		return because("session policy")
	case NoResourceAllow:
		return because("resource-based policy")
	}
	return because("identity-based policy")
}

// verdict is what one policy says.
type verdict uint8

const (
	silent verdict = iota
	allows
	denies
)

// Evaluate decides (IAM user guide, "Policy evaluation logic"): an explicit
// deny anywhere wins; then session policies and boundary must allow; then, in
// one account, identity or resource policy must allow, and across accounts
// both.
func Evaluate(r *Request, in *Input) Decision {
	action := strings.ToLower(r.Action)
	if d, denied := explicit(r, in, action); denied {
		return d
	}
	owner := in.ResourceAccount
	sameAccount := owner == "" || owner == r.Principal.AccountID
	resource, direct, sid := silent, false, ""
	if in.Resource != nil {
		resource, direct, sid = in.Resource.resourceVerdict(r, action)
	}
	p := &r.Principal
	if p.Service != "" || p.Anonymous || p.Federated != "" || in.Trust && sameAccount {
		if resource == allows {
			return Decision{true, AllowedByResource, sid}
		}
		return Decision{Reason: NoResourceAllow}
	}
	if p.Root {
		return root(sameAccount, resource, sid)
	}
	// In one account, a resource policy that names the session or user itself
	// is enough, and neither boundary nor session policy narrows what it gives
	// to a session.
	if sameAccount && resource == allows && direct {
		return Decision{true, AllowedByResource, sid}
	}
	id, idSid := evaluateAll(in.Identity, r, action)
	if in.Session != nil {
		if v, _ := evaluateAll(in.Session, r, action); v != allows {
			return Decision{Reason: NoSessionAllow}
		}
	}
	if sameAccount && resource == allows && in.Boundary == nil {
		return Decision{true, AllowedByResource, sid}
	}
	if in.Boundary != nil {
		if v, _ := in.Boundary.evaluate(r, action); v != allows {
			return Decision{Reason: NoBoundaryAllow}
		}
	}
	switch {
	case sameAccount && resource == allows:
		return Decision{true, AllowedByResource, sid}
	case id != allows:
		return Decision{Reason: NoIdentityAllow}
	case !sameAccount && resource != allows:
		return Decision{Reason: NoResourceAllow}
	}
	return Decision{true, AllowedByIdentity, idSid}
}

func root(sameAccount bool, resource verdict, sid string) Decision {
	switch {
	case sameAccount:
		return Decision{Allowed: true, Reason: AllowedAsRoot}
	case resource == allows:
		return Decision{true, AllowedByResource, sid}
	}
	return Decision{Reason: NoResourceAllow}
}

// explicit looks for an explicit deny in every policy that applies.
func explicit(r *Request, in *Input, action string) (Decision, bool) {
	if in.Resource != nil {
		if v, _, sid := in.Resource.resourceVerdict(r, action); v == denies {
			return Decision{Reason: DeniedByResource, Sid: sid}, true
		}
	}
	if r.Principal.Root && (in.ResourceAccount == "" || in.ResourceAccount == r.Principal.AccountID) {
		return Decision{}, false
	}
	if v, sid := evaluateAll(in.Identity, r, action); v == denies {
		return Decision{Reason: DeniedByIdentity, Sid: sid}, true
	}
	if in.Boundary != nil {
		if v, sid := in.Boundary.evaluate(r, action); v == denies {
			return Decision{Reason: DeniedByBoundary, Sid: sid}, true
		}
	}
	if v, sid := evaluateAll(in.Session, r, action); v == denies {
		return Decision{Reason: DeniedBySession, Sid: sid}, true
	}
	return Decision{}, false
}

func evaluateAll(ps []*Policy, r *Request, action string) (verdict, string) {
	out, by := silent, ""
	for _, p := range ps {
		switch v, sid := p.evaluate(r, action); v {
		case denies:
			return denies, sid
		case allows:
			if out == silent {
				out, by = allows, sid
			}
		}
	}
	return out, by
}

// evaluate is an identity policy's verdict.
func (p *Policy) evaluate(r *Request, action string) (verdict, string) {
	out, by := silent, ""
	for i := range p.statements {
		s := &p.statements[i]
		if out == allows && !s.deny || !s.applies(r, action) {
			continue
		}
		if s.deny {
			return denies, s.sid
		}
		out, by = allows, s.sid
	}
	return out, by
}

// resourceVerdict is a resource policy's verdict. direct says that the allow
// names the very user or session, not its account or role.
func (p *Policy) resourceVerdict(r *Request, action string) (v verdict, direct bool, sid string) {
	for i := range p.statements {
		s := &p.statements[i]
		if s.principals == nil {
			continue
		}
		named, exactly := s.principals.match(&r.Principal)
		if named == s.principals.not || !s.applies(r, action) {
			continue
		}
		if s.deny {
			return denies, false, s.sid
		}
		if v == silent {
			sid = s.sid
		}
		v, direct = allows, direct || exactly
	}
	return v, direct, sid
}

// applies matches action, resource and conditions.
func (s *statement) applies(r *Request, action string) bool {
	if matchAny(s.actions, action, noContext{}) == s.notActions {
		return false
	}
	if s.resources != nil && matchAny(s.resources, r.Resource, r.Context) == s.notResources {
		return false
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(r.Context) {
			return false
		}
	}
	return true
}

type noContext struct{}

func (noContext) Lookup(string) ([]string, bool) { return nil, false }

func matchAny(ps []pattern, s string, ctx Context) bool {
	for i := range ps {
		if ps[i].match(s, ctx) {
			return true
		}
	}
	return false
}

// match reports whether the element names the principal, and whether it names
// exactly it.
func (e *principals) match(p *Principal) (named, exactly bool) {
	if p.Service != "" {
		return contains(e.service, p.Service) || e.any && e.service == nil, true
	}
	if p.Federated != "" {
		return contains(e.federated, p.Federated), true
	}
	if e.any {
		named = true
	}
	if p.Anonymous {
		return named, false
	}
	for _, a := range e.aws {
		switch {
		case a == p.ARN:
			return true, true
		case a == p.RoleARN && a != "":
			named = true
		case a == p.AccountID || isRoot(a, p.AccountID):
			named = true
		}
	}
	return named, false
}

func isRoot(arn, account string) bool {
	rest, ok := strings.CutPrefix(arn, "arn:aws:iam::")
	return ok && strings.TrimSuffix(rest, ":root") == account && strings.HasSuffix(rest, ":root")
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s || x == "*" {
			return true
		}
	}
	return false
}

// Public reports whether a statement grants something to everybody without a
// condition, which is what S3 calls a public policy.
func (p *Policy) Public() bool {
	for i := range p.statements {
		s := &p.statements[i]
		if !s.deny && s.principals != nil && s.principals.any && len(s.conditions) == 0 {
			return true
		}
	}
	return false
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
