package policy

import (
	"strings"
)

// Principal is who asks, as policies name it.
type Principal struct {
	ARN       string // of the user, the role session, the federated session or root
	AccountID string
	// RoleARN is the role that a session came from, or the user who made a
	// federated session: a policy may name it instead of the session. Empty for
	// users.
	RoleARN string
	// Root is the account's root user: allowed everything in its own account
	// that no resource policy denies.
	Root bool
	// Service is a service principal ("cloudtrail.amazonaws.com").
	Service string
	// Federated is a web identity provider, by host name or ARN.
	Federated string
	// Anonymous is a caller without a credential.
	Anonymous bool
}

// reach says how a Principal element names a principal. It decides which other
// policies limit what the statement gives, in one account (IAM user guide,
// "Policy evaluation logic", resource-based policies and implicit denies).
type reach uint8

const (
	unnamed reach = iota
	// byAccount names the account: it hands the decision to the account, whose
	// identity policies must allow as well.
	byAccount
	// byRole names the role of a session: boundary and session policies limit
	// what is given.
	byRole
	// directly names the user, the session, the service or everybody: no other
	// policy's silence limits what is given.
	directly
)

// principals is a Principal or NotPrincipal element.
type principals struct {
	not       bool
	any       bool     // "*" or {"AWS": "*"}
	arns      []string // of users, roles, sessions
	accounts  []string // account ids
	services  []string
	federated []string
}

// rootARN is the form in which a policy names an account by ARN.
const (
	rootPrefix = "arn:aws:iam::"
	rootSuffix = ":root"
)

// accountOf is the account that a Principal's AWS value names, if it names one.
func accountOf(s string) (string, bool) {
	if rest, ok := strings.CutPrefix(s, rootPrefix); ok {
		s, ok = strings.CutSuffix(rest, rootSuffix)
		if !ok {
			return "", false
		}
	}
	return s, accountID(s)
}

func accountID(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}

// match says how the element names a principal.
func (e *principals) match(p *Principal) reach {
	if e.not {
		if e.excepts(p) {
			return unnamed
		}
		return directly
	}
	if e.any {
		return directly
	}
	switch {
	case p.Anonymous:
		return unnamed
	case p.Service != "":
		return namedDirectly(contains(e.services, p.Service))
	case p.Federated != "":
		return namedDirectly(contains(e.federated, p.Federated))
	case contains(e.arns, p.ARN):
		return directly
	case p.RoleARN != "" && contains(e.arns, p.RoleARN):
		return byRole
	case contains(e.accounts, p.AccountID):
		return byAccount
	}
	return unnamed
}

func namedDirectly(ok bool) reach {
	if ok {
		return directly
	}
	return unnamed
}

// excepts reports whether NotPrincipal names the principal. A user is excepted
// only with its account, a session only with its role and account: whoever is
// left out is denied, and with it everything inside it (IAM user guide, "AWS
// JSON policy elements: NotPrincipal").
func (e *principals) excepts(p *Principal) bool {
	switch {
	case e.any:
		return true
	case p.Anonymous:
		return false
	case p.Service != "":
		return contains(e.services, p.Service)
	case p.Federated != "":
		return contains(e.federated, p.Federated)
	case !contains(e.accounts, p.AccountID):
		return false
	case p.Root:
		return true
	}
	return contains(e.arns, p.ARN) && (p.RoleARN == "" || contains(e.arns, p.RoleARN))
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// principalElement compiles a Principal or NotPrincipal.
func principalElement(v any) (*principals, error) {
	if s, ok := v.(string); ok {
		if s != "*" {
			return nil, malformed(BadPrincipal, "%q", s)
		}
		return &principals{any: true}, nil
	}
	obj, ok := v.(object)
	if !ok || len(obj) == 0 {
		return nil, malformed(BadPrincipal, "it must be \"*\" or an object")
	}
	p := &principals{}
	for _, m := range obj {
		list, err := texts("Principal", m.value)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			return nil, malformed(BadPrincipal, "%q names nobody", m.name)
		}
		for _, s := range list {
			if !p.add(m.name, s) {
				return nil, malformed(BadPrincipal, "%q:%q", m.name, s)
			}
		}
	}
	return p, nil
}

// add adds one value. It reports false for one that cannot name a principal:
// wildcards name everybody or nobody, and canonical user ids do not exist here.
func (p *principals) add(kind, s string) bool {
	switch kind {
	case "AWS":
		if s == "*" {
			p.any = true
			return true
		}
		if account, ok := accountOf(s); ok {
			p.accounts = append(p.accounts, account)
			return true
		}
		if !principalARN(s) {
			return false
		}
		p.arns = append(p.arns, s)
	case "Service":
		if !strings.Contains(s, ".") || strings.ContainsAny(s, "*? /") {
			return false
		}
		p.services = append(p.services, s)
	case "Federated":
		if s == "" || strings.ContainsAny(s, "*? ") {
			return false
		}
		p.federated = append(p.federated, s)
	default:
		return false
	}
	return true
}

// principalARN reports whether an ARN names a user, a role or a session.
func principalARN(s string) bool {
	part := strings.SplitN(s, ":", arnSegments)
	if len(part) != arnSegments || part[0] != "arn" || part[1] != "aws" || part[3] != "" || !accountID(part[4]) || strings.ContainsAny(s, "*? ") {
		return false
	}
	kind, name, ok := strings.Cut(part[5], "/")
	if !ok || name == "" {
		return false
	}
	switch part[2] {
	case "iam":
		return kind == "user" || kind == "role"
	case "sts":
		return kind == "federated-user" || kind == "assumed-role" && strings.Contains(name, "/")
	}
	return false
}
