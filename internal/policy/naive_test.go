package policy_test

import (
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The naive evaluator follows the text of the IAM user guide rule by rule, on
// the document as encoding/json reads it, without any thought of speed. It
// shares no code with the package: the property test compares the two.

// naive keeps what it has read before.
type naive struct {
	parsed   map[string][]map[string]any
	compiled map[string]*regexp.Regexp
}

func newNaive() *naive {
	return &naive{parsed: map[string][]map[string]any{}, compiled: map[string]*regexp.Regexp{}}
}

// naiveRequest is a request; its context has lower-case keys.
type naiveRequest struct {
	ARN, Account, Role, Service string // Role is the role of a session
	Root, Anonymous             bool
	Action, Resource            string
	Context                     map[string][]string
}

// naivePolicies are documents. Session is nil for a caller that has no session
// policy.
type naivePolicies struct {
	Identity           []string
	Boundary, Resource string
	Session            []string
	Owner              string
}

// naiveResult says for each type of policy whether it denies and whether it
// allows, and what follows.
type naiveResult struct {
	Allowed, Explicit                                      bool
	DenyIdentity, DenyBoundary, DenySession, DenyResource  bool
	AllowIdentity, AllowBoundary, AllowSession, AllowOwner bool
}

func (n *naive) evaluate(r naiveRequest, in naivePolicies) naiveResult {
	out := naiveResult{AllowBoundary: true, AllowSession: true}
	out.AllowIdentity, out.DenyIdentity = n.any(in.Identity, r)
	if in.Boundary != "" {
		out.AllowBoundary, out.DenyBoundary = n.any([]string{in.Boundary}, r)
	}
	if in.Session != nil {
		out.AllowSession, out.DenySession = n.any(in.Session, r)
	}
	sameAccount := in.Owner == "" || in.Owner == r.Account
	// How the resource policy's statements that allow name the caller.
	byName, byRole, byAccount := false, false, false
	if in.Resource != "" {
		for _, s := range n.statements(in.Resource) {
			how := naivePrincipal(s, r)
			if how == "" || !n.applies(in.Resource, s, r) {
				continue
			}
			if s["Effect"] == "Deny" {
				out.DenyResource = true
				continue
			}
			byName = byName || how == "name"
			byRole = byRole || how == "role"
			byAccount = byAccount || how == "account"
		}
	}
	out.AllowOwner = byName || byRole || byAccount

	// A caller without an account's policies has the resource's only; root has
	// everything in its own account.
	switch {
	case r.Service != "" || r.Anonymous:
		out.Explicit = out.DenyResource
		out.Allowed = !out.DenyResource && out.AllowOwner
		return out
	case r.Root:
		out.Explicit = out.DenyResource
		out.Allowed = !out.DenyResource && (sameAccount || out.AllowOwner)
		return out
	}
	if out.DenyResource || out.DenyIdentity || out.DenyBoundary || out.DenySession {
		out.Explicit = true
		return out
	}
	if !sameAccount {
		out.Allowed = out.AllowOwner && out.AllowIdentity && out.AllowBoundary && out.AllowSession
		return out
	}
	out.Allowed = byName ||
		(out.AllowIdentity || byRole) && out.AllowBoundary && out.AllowSession
	return out
}

func (n *naive) any(docs []string, r naiveRequest) (allow, deny bool) {
	for _, d := range docs {
		for _, s := range n.statements(d) {
			if !n.applies(d, s, r) {
				continue
			}
			if s["Effect"] == "Deny" {
				deny = true
			} else {
				allow = true
			}
		}
	}
	return allow, deny
}

func (n *naive) statements(doc string) []map[string]any {
	if s, ok := n.parsed[doc]; ok {
		return s
	}
	var d map[string]any
	decoder := json.NewDecoder(strings.NewReader(doc))
	decoder.UseNumber()
	if err := decoder.Decode(&d); err != nil {
		panic(err)
	}
	list, ok := d["Statement"].([]any)
	if !ok {
		list = []any{d["Statement"]}
	}
	var out []map[string]any
	for _, s := range list {
		out = append(out, s.(map[string]any))
	}
	n.parsed[doc] = out
	return out
}

func naiveList(v any) []string {
	switch x := v.(type) {
	case nil:
		return nil
	case []any:
		var out []string
		for _, e := range x {
			out = append(out, naiveList(e)...)
		}
		return out
	case bool:
		return []string{strconv.FormatBool(x)}
	case json.Number:
		return []string{x.String()}
	}
	return []string{v.(string)}
}

// naivePrincipal says how a statement names the caller: "name", "role",
// "account", or "" for not at all.
func naivePrincipal(s map[string]any, r naiveRequest) string {
	element, not := s["Principal"], false
	if element == nil {
		element, not = s["NotPrincipal"], true
	}
	everybody := element == "*"
	var names []string // of the caller's kind
	if m, ok := element.(map[string]any); ok {
		for _, a := range naiveList(m["AWS"]) {
			everybody = everybody || a == "*"
		}
		names = naiveList(m["AWS"])
		if r.Service != "" {
			names = naiveList(m["Service"])
		}
	}
	has := func(want string) bool {
		for _, n := range names {
			if n == want {
				return true
			}
		}
		return false
	}
	account := has(r.Account) || has("arn:aws:iam::"+r.Account+":root")
	if not {
		var excepted bool
		switch {
		case everybody:
			excepted = true
		case r.Anonymous:
		case r.Service != "":
			excepted = has(r.Service)
		case r.Root:
			excepted = account
		default:
			excepted = account && has(r.ARN) && (r.Role == "" || has(r.Role))
		}
		if excepted {
			return ""
		}
		return "name"
	}
	switch {
	case everybody:
		return "name"
	case r.Anonymous:
		return ""
	case r.Service != "":
		if has(r.Service) {
			return "name"
		}
		return ""
	case has(r.ARN):
		return "name"
	case r.Role != "" && has(r.Role):
		return "role"
	case account:
		return "account"
	}
	return ""
}

func (n *naive) applies(doc string, s map[string]any, r naiveRequest) bool {
	variables := strings.Contains(doc, `"2012-10-17"`)
	action := func(list any) bool {
		for _, a := range naiveList(list) {
			if n.wild(a, r.Action, "(?is)", nil, ".*", ".") {
				return true
			}
		}
		return false
	}
	resource := func(list any) bool {
		for _, p := range naiveList(list) {
			if n.resource(p, r, variables) {
				return true
			}
		}
		return false
	}
	if a, ok := s["Action"]; ok && !action(a) {
		return false
	}
	if a, ok := s["NotAction"]; ok && action(a) {
		return false
	}
	if x, ok := s["Resource"]; ok && !resource(x) {
		return false
	}
	if x, ok := s["NotResource"]; ok && resource(x) {
		return false
	}
	conditions, _ := s["Condition"].(map[string]any)
	for op, keys := range conditions {
		for key, values := range keys.(map[string]any) {
			if !n.condition(op, key, naiveList(values), r.Context, variables) {
				return false
			}
		}
	}
	return true
}

var naiveVariable = regexp.MustCompile(`\$\{[^}]*\}`)

// naiveReplace splits a text at its variables. Texts at odd places are values
// to be taken literally. ok is false when a variable has no value.
func naiveReplace(s string, ctx map[string][]string, variables bool) (parts []string, ok bool) {
	if !variables {
		return []string{s}, true
	}
	end := 0
	for _, at := range naiveVariable.FindAllStringIndex(s, -1) {
		parts = append(parts, s[end:at[0]])
		name := s[at[0]+2 : at[1]-1]
		end = at[1]
		if name == "*" || name == "?" || name == "$" {
			parts = append(parts, name)
			continue
		}
		key, fallback, has := strings.Cut(name, ",")
		v := ctx[strings.ToLower(strings.TrimSpace(key))]
		switch {
		case len(v) == 1:
			parts = append(parts, v[0])
		case has:
			parts = append(parts, strings.Trim(strings.TrimSpace(fallback), "'"))
		default:
			return nil, false
		}
	}
	return append(parts, s[end:]), true
}

func (n *naive) regexp(s string) *regexp.Regexp {
	re := n.compiled[s]
	if re == nil {
		re = regexp.MustCompile(s)
		n.compiled[s] = re
	}
	return re
}

// naiveWild turns a pattern into a regular expression; literal texts come
// between those of the pattern.
func (n *naive) wild(pattern, text, flags string, parts []string, run, char string) bool {
	if parts == nil {
		parts = []string{pattern}
	}
	var b strings.Builder
	for i, p := range parts {
		for _, r := range p {
			switch {
			case r == '*' && i%2 == 0:
				b.WriteString(run)
			case r == '?' && i%2 == 0:
				b.WriteString(char)
			default:
				b.WriteString(regexp.QuoteMeta(string(r)))
			}
		}
	}
	return n.regexp(flags + "^(?:" + b.String() + ")$").MatchString(text)
}

// naiveResource: wildcards stay inside the segments between colons, but for a *
// that ends one. The sixth segment is the rest.
func (n *naive) resource(p string, r naiveRequest, variables bool) bool {
	if p == "*" {
		return true
	}
	parts, ok := naiveReplace(p, r.Context, variables)
	if !ok {
		return false
	}
	var b strings.Builder
	colons := 0
	for i, text := range parts {
		for j := range len(text) {
			c, quoted := text[j:j+1], regexp.QuoteMeta(text[j:j+1])
			next := "end"
			if j+1 < len(text) {
				next = text[j+1 : j+2]
			} else if strings.Join(parts[i+1:], "") != "" {
				next = "more"
			}
			switch {
			case i%2 == 1:
				b.WriteString(quoted)
			case c == ":":
				colons++
				b.WriteString(quoted)
			case c == "*" && (colons >= 5 || next == ":" || next == "end"):
				b.WriteString(".*")
			case c == "*":
				b.WriteString("[^:]*")
			case c == "?" && colons >= 5:
				b.WriteString(".")
			case c == "?":
				b.WriteString("[^:]")
			default:
				b.WriteString(quoted)
			}
		}
	}
	return n.regexp("(?s)^" + b.String() + "$").MatchString(r.Resource)
}

func (n *naive) condition(op, key string, want []string, ctx map[string][]string, variables bool) bool {
	have := ctx[strings.ToLower(key)]
	if op == "Null" {
		for _, w := range want {
			if strings.EqualFold(w, "true") == (len(have) == 0) && (strings.EqualFold(w, "true") || strings.EqualFold(w, "false")) {
				return true
			}
		}
		return false
	}
	set := ""
	if before, after, ok := strings.Cut(op, ":"); ok {
		set, op = before, after
	}
	op, ifExists := strings.CutSuffix(op, "IfExists")
	negated := strings.Contains(op, "Not")
	positive := strings.Replace(op, "Not", "", 1)
	if set != "" && len(have) == 1 && have[0] == "" {
		have = nil
	}
	if len(have) == 0 {
		switch {
		case ifExists, set == "ForAllValues":
			return true
		case set == "ForAnyValue":
			return false
		}
		return negated
	}
	// one says whether a value satisfies the operator: one of the policy's values
	// for a positive one, none of them for a negated one.
	one := func(h string) bool {
		for _, w := range want {
			if n.compare(positive, h, w, ctx, variables) {
				return !negated
			}
		}
		return negated
	}
	all, some := true, false
	for _, h := range have {
		all, some = all && one(h), some || one(h)
	}
	switch {
	case set == "ForAllValues":
		return all
	case set == "ForAnyValue":
		return some
	case negated:
		return all
	}
	return some
}

func (n *naive) compare(op, have, want string, ctx map[string][]string, variables bool) bool {
	switch op {
	case "StringEquals", "StringEqualsIgnoreCase", "Bool":
		parts, ok := naiveReplace(want, ctx, variables)
		text := strings.Join(parts, "")
		return ok && (text == have || op != "StringEquals" && strings.EqualFold(text, have))
	case "StringLike":
		parts, ok := naiveReplace(want, ctx, variables)
		return ok && n.wild(want, have, "(?s)", parts, ".*", ".")
	case "ArnEquals", "ArnLike":
		return n.arn(have, want, ctx, variables)
	case "BinaryEquals":
		a, err1 := base64.StdEncoding.DecodeString(have)
		b, err2 := base64.StdEncoding.DecodeString(want)
		return err1 == nil && err2 == nil && string(a) == string(b)
	case "IpAddress":
		if !strings.Contains(want, "/") {
			ip := net.ParseIP(want)
			return ip != nil && ip.Equal(net.ParseIP(have))
		}
		_, block, err := net.ParseCIDR(want)
		ip := net.ParseIP(have)
		return err == nil && ip != nil && block.Contains(ip)
	}
	if kind, ok := strings.CutPrefix(op, "Numeric"); ok {
		a, ok1 := new(big.Rat).SetString(have)
		b, ok2 := new(big.Rat).SetString(want)
		return ok1 && ok2 && naiveOrder(kind, a.Cmp(b))
	}
	kind := strings.TrimPrefix(op, "Date")
	a, ok1 := naiveTime(have)
	b, ok2 := naiveTime(want)
	return ok1 && ok2 && naiveOrder(kind, a.Compare(b))
}

func naiveOrder(kind string, sign int) bool {
	switch kind {
	case "Equals":
		return sign == 0
	case "LessThan":
		return sign < 0
	case "LessThanEquals":
		return sign <= 0
	case "GreaterThan":
		return sign > 0
	case "GreaterThanEquals":
		return sign >= 0
	}
	panic("unknown operator " + kind)
}

func naiveTime(s string) (time.Time, bool) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, true
	}
	if t, err := time.Parse("2006-01-02", s); err == nil {
		return t, true
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Unix(n, 0), true
	}
	return time.Time{}, false
}

// naiveARN compares part by part; the sixth is the rest.
func (n *naive) arn(have, want string, ctx map[string][]string, variables bool) bool {
	if want == "*" {
		return true
	}
	parts, ok := naiveReplace(want, ctx, variables)
	if !ok {
		return false
	}
	// A private character stands for a wildcard, so that the text can be cut at
	// its colons after the variables are replaced.
	for i := 0; i < len(parts); i += 2 {
		parts[i] = strings.NewReplacer("*", "\x01", "?", "\x02").Replace(parts[i])
	}
	text := strings.Join(parts, "")
	if !strings.ContainsAny(text, "\x01\x02") && text == have {
		return true
	}
	p, h := strings.SplitN(text, ":", 6), strings.SplitN(have, ":", 6)
	if len(p) != 6 || len(h) != 6 {
		return false
	}
	for i := range p {
		re := strings.NewReplacer("\x01", ".*", "\x02", ".").Replace(regexp.QuoteMeta(p[i]))
		if !n.regexp("(?s)^" + re + "$").MatchString(h[i]) {
			return false
		}
	}
	return true
}
