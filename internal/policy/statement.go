package policy

import "strings"

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
	// sts is true when all actions are of STS, as in a trust policy.
	sts bool
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
		has.sts, err = c.actions(s, m.value)
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
	case c.kind == Trust && (!has.sts || s.notActions):
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

// actions compiles Action or NotAction and reports whether all of them are of
// STS.
func (c compiler) actions(s *statement, v any) (sts bool, err error) {
	list, err := texts("Action", v)
	if err != nil {
		return false, err
	}
	if len(list) == 0 {
		return false, malformed(MissingAction, "")
	}
	sts = true
	for _, a := range list {
		service, name, ok := strings.Cut(a, ":")
		if a != "*" && (!ok || service == "" || name == "" || !actionText(a)) {
			return false, malformed(BadAction, "%q", a)
		}
		a = strings.ToLower(a)
		s.actions.add(a)
		sts = sts && strings.HasPrefix(a, "sts:")
	}
	return sts, nil
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
		if r != "*" && (!strings.HasPrefix(r, "arn:") || strings.Count(r, ":") < arnSegments-1) {
			return nil, malformed(BadResource, "%s", r)
		}
		out = append(out, compileARN(r, c.variables))
	}
	return out, nil
}

// applies matches action, resource and conditions.
func (s *statement) applies(q *query) bool {
	if s.actions.has(&q.action) == s.notActions {
		return false
	}
	if s.resources != nil && matchAny(s.resources, q.resource, q.ctx) == s.notResources {
		return false
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(q.ctx) {
			return false
		}
	}
	return true
}

func matchAny(ps []pattern, s string, ctx Context) bool {
	for i := range ps {
		if ps[i].match(s, ctx) {
			return true
		}
	}
	return false
}
