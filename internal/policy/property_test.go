package policy_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"spoor/internal/policy"
)

// TestEvaluateAgreesWithNaive compares the compiled evaluator with the naive
// one on random policies and requests. The texts come from small sets, so that
// they meet each other often.
func TestEvaluateAgreesWithNaive(t *testing.T) {
	t.Parallel()
	sets, each := 16_000, 15
	if testing.Short() {
		sets = 2_000
	}
	seed := rand.Uint64()
	g := generator{rand.New(rand.NewPCG(seed, 1))}
	reasons := map[policy.Reason]int{}
	n := newNaive()
	for range sets {
		in := g.policies()
		clear(n.parsed)
		compiled, err := compileAll(in)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, show(in))
		}
		for range each {
			r := g.request()
			d := evaluate(r, in, compiled)
			reasons[d.Reason]++
			if fault := disagreement(d, n.evaluate(r, in)); fault != "" {
				in = n.shrink(r, in)
				compiled, _ = compileAll(in)
				d = evaluate(r, in, compiled)
				t.Fatalf("seed %d: %s\nrequest %+v\n%s\nnaive %+v", seed, disagreement(d, n.evaluate(r, in)), r, show(in), n.evaluate(r, in))
			}
		}
	}
	// A generator that never reaches an outcome proves nothing about it.
	for r := policy.AllowedByIdentity; r <= policy.NoResourceAllow; r++ {
		if reasons[r] < sets*each/3000 {
			t.Errorf("%v came out %d times in %d", r, reasons[r], sets*each)
		}
	}
}

type compiled struct {
	identity, session  []*policy.Policy
	boundary, resource *policy.Policy
}

func compileAll(in naivePolicies) (c compiled, err error) {
	parse := func(text string, kind policy.Kind) *policy.Policy {
		if text == "" || err != nil {
			return nil
		}
		var p *policy.Policy
		p, err = policy.Parse(text, kind)
		return p
	}
	for _, d := range in.Identity {
		c.identity = append(c.identity, parse(d, policy.Identity))
	}
	if in.Session != nil {
		c.session = []*policy.Policy{}
	}
	for _, d := range in.Session {
		c.session = append(c.session, parse(d, policy.Identity))
	}
	c.boundary, c.resource = parse(in.Boundary, policy.Identity), parse(in.Resource, policy.Resource)
	return c, err
}

func evaluate(r naiveRequest, in naivePolicies, c compiled) policy.Decision {
	return policy.Evaluate(&policy.Request{
		Principal: policy.Principal{ARN: r.ARN, AccountID: r.Account, RoleARN: r.Role, Root: r.Root, Service: r.Service, Anonymous: r.Anonymous},
		Action:    r.Action, Resource: r.Resource, Context: policy.Values(r.Context),
	}, &policy.Input{Identity: c.identity, Boundary: c.boundary, Session: c.session, Resource: c.resource, ResourceAccount: in.Owner})
}

// disagreement says how a decision contradicts the naive result. Several
// reasons can hold at once; the decision names one of them.
func disagreement(d policy.Decision, n naiveResult) string {
	holds := map[policy.Reason]bool{
		policy.AllowedByIdentity: n.AllowIdentity, policy.AllowedByResource: n.AllowOwner, policy.AllowedAsRoot: true,
		policy.DeniedByIdentity: n.DenyIdentity, policy.DeniedByBoundary: n.DenyBoundary, policy.DeniedBySession: n.DenySession, policy.DeniedByResource: n.DenyResource,
		policy.NoIdentityAllow: !n.AllowIdentity, policy.NoBoundaryAllow: !n.AllowBoundary, policy.NoSessionAllow: !n.AllowSession, policy.NoResourceAllow: !n.AllowOwner,
	}
	switch {
	case d.Allowed != n.Allowed:
		return fmt.Sprintf("allowed is %v (%v), the naive evaluator says %v", d.Allowed, d.Reason, n.Allowed)
	case d.Explicit() != n.Explicit:
		return fmt.Sprintf("the reason is %v, the naive evaluator says explicit deny: %v", d.Reason, n.Explicit)
	case !holds[d.Reason]:
		return fmt.Sprintf("the reason %v does not hold", d.Reason)
	}
	return ""
}

// shrink takes policies, statements and conditions away as long as the two
// evaluators still disagree.
func (n *naive) shrink(r naiveRequest, in naivePolicies) naivePolicies {
	fails := func(in naivePolicies) bool {
		c, err := compileAll(in)
		return err == nil && disagreement(evaluate(r, in, c), n.evaluate(r, in)) != ""
	}
	for again := true; again; {
		again = false
		try := func(next naivePolicies) {
			if fails(next) {
				in, again = next, true
			}
		}
		for _, doc := range smaller(in.Resource) {
			next := in
			next.Resource = doc
			try(next)
		}
		for _, doc := range smaller(in.Boundary) {
			next := in
			next.Boundary = doc
			try(next)
		}
		for i := range in.Identity {
			for _, doc := range smaller(in.Identity[i]) {
				next := in
				next.Identity = append([]string(nil), in.Identity...)
				next.Identity[i] = doc
				if doc == "" {
					next.Identity = append(next.Identity[:i], next.Identity[i+1:]...)
				}
				try(next)
				if again {
					break
				}
			}
			if again {
				break
			}
		}
	}
	return in
}

// smaller are documents with one thing less: nothing, one statement, one
// operator.
func smaller(doc string) []string {
	if doc == "" {
		return nil
	}
	out := []string{""}
	variants := func(change func(statements []any, i int) []any) {
		for i := 0; ; i++ {
			var d map[string]any
			if err := json.Unmarshal([]byte(doc), &d); err != nil {
				panic(err)
			}
			list := d["Statement"].([]any)
			if i >= len(list) {
				return
			}
			if d["Statement"] = change(list, i); len(d["Statement"].([]any)) > 0 {
				if text := marshal(d); len(text) < len(doc) {
					out = append(out, text)
				}
			}
		}
	}
	variants(func(s []any, i int) []any { return append(s[:i:i], s[i+1:]...) })
	variants(func(s []any, i int) []any {
		if c, ok := s[i].(map[string]any)["Condition"].(map[string]any); ok {
			for op := range c {
				delete(c, op)
				break
			}
		}
		return s
	})
	return out
}

func marshal(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func show(in naivePolicies) string {
	return fmt.Sprintf("identity:\n  %s\nboundary: %s\nsession (%v): %s\nresource (of %q): %s",
		strings.Join(in.Identity, "\n  "), in.Boundary, in.Session != nil, strings.Join(in.Session, "\n  "), in.Owner, in.Resource)
}

// generator makes policies and requests from small sets of texts.
type generator struct{ *rand.Rand }

func pick[T any](g generator, list ...T) T { return list[g.IntN(len(list))] }

// some picks between one and n of a list, as one value or as a list.
func some[T any](g generator, n int, list ...T) any {
	if g.IntN(3) == 0 {
		return pick(g, list...)
	}
	out := []T{}
	for range 1 + g.IntN(n) {
		out = append(out, pick(g, list...))
	}
	return out
}

func (g generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g generator) policies() naivePolicies {
	in := naivePolicies{Owner: pick(g, "", "111111111111", "111111111111", "222222222222")}
	for range g.IntN(3) {
		in.Identity = append(in.Identity, g.document(false))
	}
	if g.chance(25) {
		in.Boundary = g.document(false)
	}
	if g.chance(25) {
		in.Session = []string{}
		for range g.IntN(3) {
			in.Session = append(in.Session, g.document(false))
		}
	}
	if g.chance(60) {
		in.Resource = g.document(true)
	}
	return in
}

func (g generator) document(resource bool) string {
	statements := []any{}
	for range 1 + g.IntN(3) {
		statements = append(statements, g.statement(resource))
	}
	d := map[string]any{"Statement": statements}
	if v := pick(g, "2012-10-17", "2012-10-17", "2012-10-17", "2008-10-17", ""); v != "" {
		d["Version"] = v
	}
	return marshal(d)
}

func (g generator) statement(resource bool) map[string]any {
	s := map[string]any{"Effect": pick(g, "Allow", "Allow", "Allow", "Deny")}
	s[pick(g, "Action", "Action", "Action", "NotAction")] = some(g, 3, "*", "s3:*", "s3:GetObject", "S3:getobject", "s3:Get*", "s3:?etObject",
		"s3:*Object", "s3:Put*", "athena:*", "athena:StartQueryExecution", "cassandra:Select", "cassandra:S*t", "cassandra:*")
	s[pick(g, "Resource", "Resource", "Resource", "NotResource")] = some(g, 3, "*", "*", "arn:aws:s3:::*", "arn:aws:s3:::data", "arn:aws:s3:::data/*",
		"arn:aws:s3:::data/home/${aws:username}/*", "arn:aws:s3:::data/${aws:PrincipalTag/team, 'common'}/*", "arn:aws:s3:::data/${*}", "arn:aws:s3:::dat?/h?me/*",
		"arn:aws:athena:*:111111111111:workgroup/*", "arn:aws:athena:us-*-1:*:workgroup/${aws:username}", "arn:aws:athena:us-????-1:111111111111:workgroup/primary",
		"arn:aws:cassandra:us-east-1:*:/keyspace/ks/*", "arn:aws:cassandra:*:*:*", "arn:aws:cassandra:*:*:/keyspace/*/table/t", "arn:aws:s3:::*/alice/*",
		"arn:*:s3:::data/*", "arn:aws:athena:*:*:workgroup/primary", "arn:aws:athena:*::workgroup/primary", "arn:aws:athena:u*1:1*1:*")
	if resource {
		s[pick(g, "Principal", "Principal", "Principal", "NotPrincipal")] = g.principal()
	}
	if g.chance(55) {
		conditions := map[string]any{}
		for range 1 + g.IntN(2) {
			op, key, values := g.condition()
			keys, ok := conditions[op].(map[string]any)
			if !ok {
				keys = map[string]any{}
			}
			keys[key] = values
			conditions[op] = keys
		}
		s["Condition"] = conditions
	}
	return s
}

func (g generator) principal() any {
	if g.chance(20) {
		return "*"
	}
	m := map[string]any{}
	if g.chance(85) {
		m["AWS"] = some(g, 3, "111111111111", "arn:aws:iam::111111111111:root", "222222222222", "arn:aws:iam::111111111111:user/alice", "arn:aws:iam::111111111111:role/etl",
			"arn:aws:sts::111111111111:assumed-role/etl/run", "arn:aws:iam::222222222222:root", "*", "arn:aws:iam::111111111111:user/alice")
	}
	if len(m) == 0 || g.chance(25) {
		m["Service"] = some(g, 2, "cloudtrail.amazonaws.com", "glue.amazonaws.com")
	}
	return m
}

// Values of condition keys, in requests and in policies.
var (
	texts     = []string{"alice", "Alice", "al*", "a", "", "team-a", "été"}
	patterns  = []any{"alice", "al*", "?l?ce", "*", "", "${aws:username}", "a${*}", "${*}*", "${aws:PrincipalTag/team}", "t*${aws:username, 'a'}", "?t?", "${aws:missing, 'team-a'}"}
	numbers   = []string{"5", "5.0", "-1", "0", "1e2", "100", "x", "9223372036854775808"}
	dates     = []string{"2024-05-01T12:00:00Z", "2024-05-01T14:00:00+02:00", "2024-05-01", "1714564800", "soon", "2025-01-01T00:00:00Z"}
	addresses = []string{"10.1.2.3", "10.2.0.1", "192.0.2.7", "2001:db8::1", "2001:db8:1::1", "::ffff:10.1.2.3", "here"}
	blocks    = []any{"10.0.0.0/8", "10.1.2.3", "192.0.2.0/24", "2001:db8::/48", "2001:db8::1", "0.0.0.0/0", "::/0", "nowhere/8"}
	arns      = []string{"arn:aws:iam::111111111111:user/alice", "arn:aws:iam::111111111111:role/a:b", "arn:aws:cloudtrail:us-east-1:111111111111:trail/t", "no arn"}
	arnWants  = []any{"arn:aws:iam::111111111111:user/alice", "arn:aws:iam::*:user/*", "arn:aws:iam::111111111111:*", "*", "arn:aws:iam::*", "arn:*:*:*:*:trail/?", "arn:aws:iam::111111111111:user/${aws:username}", "no arn"}
	bytes64   = []string{"AAEC", "AAED", "!", ""}
)

func anys(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

func (g generator) condition() (op, key string, values any) {
	set := pick(g, "", "", "", "ForAllValues:", "ForAnyValue:")
	exists := pick(g, "", "", "", "IfExists")
	order := pick(g, "Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals")
	switch g.IntN(10) {
	case 0, 1, 2:
		op, key = pick(g, "StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike", "StringNotLike"),
			pick(g, "aws:username", "aws:TagKeys", "AWS:PrincipalTag/team", "s3:prefix")
		values = some(g, 3, patterns...)
	case 3:
		op, key, values = "Numeric"+order, "s3:max-keys", some(g, 2, append(anys(numbers), 5, 1e2, -1.5)...)
	case 4:
		op, key, values = "Date"+order, "aws:CurrentTime", some(g, 2, append(anys(dates), 1714564800)...)
	case 5:
		op, key, values = "Bool", "aws:SecureTransport", some(g, 2, []any{true, false, "true", "FALSE", "${aws:SecureTransport}"}...)
	case 6:
		op, key, values = pick(g, "IpAddress", "NotIpAddress"), "aws:SourceIp", some(g, 3, blocks...)
	case 7:
		op, key, values = pick(g, "ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"), "aws:PrincipalArn", some(g, 3, arnWants...)
	case 8:
		op, key, values = "BinaryEquals", "custom:bytes", some(g, 2, anys(bytes64)...)
	default:
		return "Null", pick(g, "aws:username", "aws:TagKeys", "s3:prefix"), some(g, 2, []any{true, false, "true", "false"}...)
	}
	return set + op + exists, key, values
}

func (g generator) request() naiveRequest {
	r := naiveRequest{Account: "111111111111", Context: map[string][]string{}}
	switch g.IntN(8) {
	case 0, 1, 2:
		r.ARN = pick(g, "arn:aws:iam::111111111111:user/alice", "arn:aws:iam::111111111111:user/bob")
	case 3, 4:
		r.ARN, r.Role = pick(g, "arn:aws:sts::111111111111:assumed-role/etl/run", "arn:aws:sts::111111111111:assumed-role/etl/other"), "arn:aws:iam::111111111111:role/etl"
	case 5:
		r.ARN, r.Account, r.Root = "arn:aws:iam::111111111111:root", "111111111111", true
	case 6:
		r.Account, r.Service = "", pick(g, "cloudtrail.amazonaws.com", "athena.amazonaws.com")
	default:
		r.Account, r.Anonymous = "anonymous", true
	}
	r.Action = pick(g, "s3:GetObject", "S3:GETOBJECT", "s3:PutObject", "s3:ListBucket", "athena:StartQueryExecution", "cassandra:Select")
	r.Resource = pick(g, "arn:aws:s3:::data", "arn:aws:s3:::data/home/alice/x", "arn:aws:s3:::data/team-a/a:b", "arn:aws:s3:::data/*", "arn:aws:s3:::data/été/alice/x",
		"arn:aws:athena:us-east-1:111111111111:workgroup/primary", "arn:aws:athena:us-east-1:111111111111:workgroup/alice",
		"arn:aws:athena:us-a:b-1:workgroup/primary",
		"arn:aws:cassandra:us-east-1:111111111111:/keyspace/ks/table/t", "*")
	put := func(percent int, key string, most int, list []string) {
		if !g.chance(percent) {
			return
		}
		values := []string{}
		for range 1 + g.IntN(most) {
			values = append(values, pick(g, list...))
		}
		r.Context[key] = values
	}
	put(70, "aws:username", 1, texts)
	put(50, "aws:tagkeys", 3, texts)
	put(50, "aws:principaltag/team", 1, texts)
	put(40, "s3:prefix", 1, texts)
	put(60, "s3:max-keys", 2, numbers)
	put(70, "aws:currenttime", 1, dates)
	put(70, "aws:securetransport", 1, []string{"true", "false"})
	put(70, "aws:sourceip", 1, addresses)
	put(70, "aws:principalarn", 1, arns)
	put(50, "custom:bytes", 1, bytes64)
	return r
}
