package policy

import "strings"

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

// Explicit reports whether a statement denied the request.
func (d Decision) Explicit() bool {
	return d.Reason >= DeniedByIdentity && d.Reason <= DeniedByResource
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
	name, explicit := d.Reason.policy()
	article := "a"
	switch {
	case d.Trust && (d.Reason == DeniedByResource || d.Reason == NoResourceAllow):
		// AWS names no resource where a trust policy decides.
		article, name = "the", "role trust policy"
	case d.Reason == DeniedByIdentity:
		article = "an"
		fallthrough
	default:
		head += onResource(action, resource)
	}
	if explicit {
		return head + " with an explicit deny in " + article + " " + name
	}
	return head + " because no " + name + " allows the " + action + " action"
}

// policy names the type of policy that a denial is about.
func (r Reason) policy() (name string, explicit bool) {
	switch r {
	case DeniedByIdentity:
		return "identity-based policy", true
	case DeniedByBoundary:
		return "permissions boundary", true
	case DeniedBySession:
		return "session policy", true
	case DeniedByResource:
		return "resource-based policy", true
	case NoBoundaryAllow:
		return "permissions boundary", false
	case NoSessionAllow:
		return "session policy", false
	case NoResourceAllow:
		return "resource-based policy", false
	}
	return "identity-based policy", false
}

// onResource is how services name the resource. S3 quotes it. An action without
// a resource names none, but in IAM and STS.
func onResource(action, resource string) string {
	service, _, _ := strings.Cut(action, ":")
	switch {
	case resource == "" || action == "s3:ListAllMyBuckets" || resource == "*" && service != "iam" && service != "sts":
		return ""
	case service == "s3":
		return ` on resource: "` + resource + `"`
	}
	return " on resource: " + resource
}
