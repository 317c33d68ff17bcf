package policy

import (
	"slices"
	"strings"
)

// statement is a compiled statement.
type statement struct {
	sid          string
	deny         bool
	actions      actionSet
	notActions   bool
	resources    []pattern // nil in trust policies
	notResources bool
	principals   *principals // nil in identity policies
	conditions   []condition
}

// compiler compiles statements.
type compiler struct {
	variables bool
	kind      Kind
}

// elements are the members that a statement has.
type elements struct {
	effect, action, notAction, resource, notResource, principal, notPrincipal bool
	// sts is true when all actions are of STS, and assume when each can be one of
	// a trust policy.
	sts, assume bool
}

func (c compiler) statement(obj object) (statement, error) {
	var s statement
	var has elements
	for _, m := range obj {
		if err := c.element(&s, &has, m); err != nil {
			return s, err
		}
	}
	return s, c.complete(&s, &has)
}

func (c compiler) element(s *statement, has *elements, m member) (err error) {
	switch m.name {
	case "Sid":
		sid, ok := m.value.(string)
		if !ok {
			return malformed(BadGrammar, "Sid must be a string")
		}
		if c.kind != Resource && !alphanumeric(sid) {
			return malformed(BadSid, "%q", sid)
		}
		s.sid = sid
	case "Effect":
		if m.value != "Allow" && m.value != "Deny" {
			return malformed(BadGrammar, "Effect must be Allow or Deny")
		}
		has.effect, s.deny = true, m.value == "Deny"
	case "Action", "NotAction":
		has.action, has.notAction = has.action || m.name == "Action", has.notAction || m.name == "NotAction"
		s.notActions = m.name == "NotAction"
		err = c.actions(s, has, m.value)
	case "Resource", "NotResource":
		has.resource, has.notResource = has.resource || m.name == "Resource", has.notResource || m.name == "NotResource"
		s.notResources = m.name == "NotResource"
		s.resources, err = c.resources(m.value)
	case "Principal", "NotPrincipal":
		if c.kind == Identity {
			return malformed(UnwantedPrincipal, "")
		}
		has.principal, has.notPrincipal = has.principal || m.name == "Principal", has.notPrincipal || m.name == "NotPrincipal"
		if s.principals, err = principalElement(m.value); err == nil {
			s.principals.not = m.name == "NotPrincipal"
		}
	case "Condition":
		s.conditions, err = c.conditions(m.value)
	default:
		err = malformed(BadGrammar, "unknown element %q", m.name)
	}
	return err
}

// complete checks which elements stand together.
func (c compiler) complete(s *statement, has *elements) error {
	trust := c.kind == Trust || c.kind == Resource && has.sts && !s.notActions
	resources := has.resource || has.notResource
	switch {
	case !has.effect:
		return malformed(BadGrammar, "Effect is missing")
	case has.action && has.notAction:
		return malformed(BadGrammar, "Action and NotAction cannot both be given")
	case !has.action && !has.notAction:
		return malformed(MissingAction, "")
	case has.resource && has.notResource:
		return malformed(BadGrammar, "Resource and NotResource cannot both be given")
	case has.principal && has.notPrincipal:
		return malformed(BadGrammar, "Principal and NotPrincipal cannot both be given")
	case c.kind != Identity && s.principals == nil:
		return malformed(MissingPrincipal, "")
	case c.kind == Trust && (!has.assume || s.notActions):
		return malformed(NotAssumeRole, "")
	case trust && resources:
		return malformed(UnwantedResource, "")
	case trust && has.notPrincipal && !s.deny:
		return malformed(AllowNotPrincipal, "")
	case !trust && !resources:
		return malformed(MissingResource, "")
	}
	return nil
}

func alphanumeric(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z') {
			return false
		}
	}
	return true
}

// texts reads a string or a list of strings.
func texts(element string, v any) ([]string, error) {
	switch x := v.(type) {
	case string:
		return []string{x}, nil
	case []any:
		out := make([]string, 0, len(x))
		for _, e := range x {
			s, ok := e.(string)
			if !ok {
				return nil, malformed(BadGrammar, "%s must be a string or a list of strings", element)
			}
			out = append(out, s)
		}
		return out, nil
	}
	return nil, malformed(BadGrammar, "%s must be a string or a list of strings", element)
}

// actions compiles Action or NotAction.
func (c compiler) actions(s *statement, has *elements, v any) error {
	list, err := texts("Action", v)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return malformed(MissingAction, "")
	}
	has.sts, has.assume = true, true
	for _, a := range list {
		if err := checkAction(a); err != nil {
			return err
		}
		a = strings.ToLower(a)
		s.actions.add(a)
		has.sts = has.sts && strings.HasPrefix(a, "sts:")
		has.assume = has.assume && assumes(a)
	}
	return nil
}

func checkAction(a string) error {
	if a == "*" {
		return nil
	}
	vendor, name, ok := strings.Cut(a, ":")
	switch {
	case !ok || vendor == "" || name == "" || !actionText(a):
		return malformed(BadAction, "%q", a)
	case strings.Contains(name, ":"):
		return malformed(TwoColons, "")
	case strings.ContainsAny(vendor, "*?"):
		return malformed(BadVendor, "%s", vendor)
	}
	return nil
}

// assumes reports whether an action in lower case can be one of those that a
// trust policy is about.
func assumes(a string) bool {
	pattern, _ := expand(nil, []part{{text: a}}, nil)
	return slices.ContainsFunc([]string{"sts:assumerole", "sts:assumerolewithsaml", "sts:assumerolewithwebidentity", "sts:tagsession",
		"sts:setsourceidentity", "sts:setcontext"}, func(name string) bool { return strings.HasPrefix(a, "sts:") && glob(pattern, name) })
}

// actionText reports whether a text has only characters of actions and
// wildcards.
func actionText(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !alphanumeric(s[i:i+1]) && c != ':' && c != '*' && c != '?' && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

func (c compiler) resources(v any) ([]pattern, error) {
	list, err := texts("Resource", v)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, malformed(MissingResource, "")
	}
	out := make([]pattern, 0, len(list))
	for _, r := range list {
		if err := checkResource(r); err != nil {
			return nil, err
		}
		out = append(out, compileARN(r, c.variables))
	}
	return out, nil
}

// partitions are those that a resource may name, with their wildcards.
var partitions = []string{"aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f", "aws-eusc"}

// iamKinds begin the resource part of IAM's ARNs.
var iamKinds = []string{"user/", "federated-user/", "role/", "group/", "instance-profile/", "mfa/", "server-certificate/", "policy/",
	"sms-mfa/", "saml-provider/", "oidc-provider/", "report/", "access-report/"}

// iamResources lists iamKinds as IAM's message does.
func iamResources() string {
	return strings.Join(iamKinds[:len(iamKinds)-1], ", ") + ", or " + iamKinds[len(iamKinds)-1]
}

// checkResource checks what IAM checks of a resource's ARN.
func checkResource(r string) error {
	if r == "*" {
		return nil
	}
	if !strings.HasPrefix(r, "arn:") {
		return malformed(BadResource, "%s", r)
	}
	seg := arnParts(r)
	if len(seg) < arnSegments {
		return malformed(ShortResource, "%s", r)
	}
	partition, _ := expand(nil, []part{{text: seg[1]}}, nil)
	switch {
	case strings.Contains(seg[1], "${"):
		return nil
	case !slices.ContainsFunc(partitions, func(p string) bool { return glob(partition, p) }):
		return malformed(BadPartition, "%q is not valid for resource %q", seg[1], r)
	case strings.ContainsAny(seg[2], "*?"):
		return malformed(ResourceVendor, "%s", r)
	case seg[2] != "iam":
		return nil
	case strings.Trim(seg[3], "*") != "":
		return malformed(ResourceRegion, "%s", r)
	case seg[5] == "root" || strings.ContainsAny(seg[5][:min(1, len(seg[5]))], "*?$"):
		return nil
	case !slices.ContainsFunc(iamKinds, func(k string) bool { return strings.HasPrefix(seg[5], k) || wildKind(seg[5], k) }):
		return malformed(ResourcePath, "%s", r)
	}
	return nil
}

// arnParts splits an ARN at its first colons, not at those inside variables.
func arnParts(s string) []string {
	var out []string
	start := 0
	for i := 0; i < len(s) && len(out) < arnSegments-1; i++ {
		switch {
		case s[i] == ':':
			out = append(out, s[start:i])
			start = i + 1
		case strings.HasPrefix(s[i:], "${"):
			i += max(strings.IndexByte(s[i:], '}'), 0)
		}
	}
	return append(out, s[start:])
}

// wildKind reports whether a resource part begins as a kind does up to a
// wildcard.
func wildKind(s, kind string) bool {
	i := strings.IndexAny(s, "*?")
	return i >= 0 && i < len(kind) && s[:i] == kind[:i]
}

// applies matches action, resource and conditions.
func (s *statement) applies(q *query, ctx Context) bool {
	if s.actions.has(&q.action) == s.notActions {
		return false
	}
	if s.resources != nil && matchAny(s.resources, q.resource, ctx) == s.notResources {
		return false
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(ctx) {
			return false
		}
	}
	return true
}

// eachKey calls fn with every condition key that the statement refers to, in
// lower case and as written.
func (s *statement) eachKey(fn func(key, name string)) {
	for i := range s.resources {
		s.resources[i].eachKey(fn)
	}
	for i := range s.conditions {
		c := &s.conditions[i]
		fn(c.key, c.name)
		for j := range c.operands {
			c.operands[j].pattern.eachKey(fn)
		}
	}
}

func matchAny(ps []pattern, s string, ctx Context) bool {
	for i := range ps {
		if ps[i].match(s, ctx) {
			return true
		}
	}
	return false
}
