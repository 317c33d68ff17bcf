package policy

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
	// Policy and Statement (its index, from 0) are what decided; nil and -1
	// when no policy allowed or the caller is root.
	Policy    *Policy
	Statement int
	// Trust is true when Reason speaks of a role's trust policy.
	Trust bool
}

func decide(r Reason, v verdict, trust bool) Decision {
	d := Decision{Allowed: r <= AllowedAsRoot, Reason: r, Policy: v.policy, Statement: v.statement, Trust: trust}
	if v.effect == silent {
		d.Policy, d.Statement = nil, -1
	}
	return d
}

// Sid is the id of the deciding statement, when there is one and it has one.
func (d Decision) Sid() string {
	if d.Policy == nil {
		return ""
	}
	return d.Policy.statements[d.Statement].sid
}

// PolicyID is the Id element of the deciding policy, when there is one.
func (d Decision) PolicyID() string {
	if d.Policy == nil {
		return ""
	}
	return d.Policy.ID
}

// Message is AWS's text of a denial (IAM user guide, "Troubleshoot access
// denied error messages"). who is the principal's ARN.
func (d Decision) Message(who, action, resource string) string {
	if who == "" {
		who = "anonymous"
	}
	head := "User: " + who + " is not authorized to perform: " + action
	if d.Trust {
		// AWS names no resource where a trust policy decides.
		if d.Reason == DeniedByResource {
			return head + " with an explicit deny in the role trust policy"
		}
		return head + " because no role trust policy allows the " + action + " action"
	}
	if resource != "" {
		head += " on resource: " + resource
	}
	switch d.Reason {
	case DeniedByIdentity:
		return head + " with an explicit deny in an identity-based policy"
	case DeniedByBoundary:
		return head + " with an explicit deny in a permissions boundary"
	case DeniedBySession:
		return head + " with an explicit deny in a session policy"
	case DeniedByResource:
		return head + " with an explicit deny in a resource-based policy"
	case NoBoundaryAllow:
		return head + " because no permissions boundary allows the " + action + " action"
	case NoSessionAllow:
		return head + " because no session policy allows the " + action + " action"
	case NoResourceAllow:
		return head + " because no resource-based policy allows the " + action + " action"
	}
	return head + " because no identity-based policy allows the " + action + " action"
}
