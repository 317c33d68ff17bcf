package policy_test

import (
	"errors"
	"strings"
	"testing"

	"spoor/internal/policy"
)

// FuzzParse: no text panics, every fault is a SyntaxError with a text for each
// service, and what is accepted survives printing, evaluation and explanation.
func FuzzParse(f *testing.F) {
	for _, doc := range []string{
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`,
		`{"Version":"2012-10-17","Id":"x","Statement":[{"Sid":"a","Effect":"Deny","NotAction":["iam:*","sts:Get?"],"NotResource":"arn:aws:s3:::${aws:username}/*"}]}`,
		`{"Statement":[{"Effect":"Allow","Principal":{"AWS":["111111111111","arn:aws:iam::111111111111:role/x"]},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*","Condition":{"ForAllValues:StringLikeIfExists":{"aws:TagKeys":["a*","${aws:PrincipalTag/team, 'x'}"]},"NumericLessThan":{"s3:max-keys":1e2}}}]}`,
		`{"Statement":[{"Effect":"Allow","Principal":{"Federated":"idp.example.com"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"Null":{"aws:username":true}}}]}`,
		`{"Statement":[{"Effect":"Deny","NotPrincipal":{"Service":"cloudtrail.amazonaws.com"},"Action":"*","Resource":"arn:aws:s3:::a*b?c"}]}`,
		`{"Statement":[{"Effect":"Allow","Action":"s3:a:b","Resource":"arn:aws:iam:::x"}]}`,
		`{"Version":"2012-10-17","Version":"2012-10-17"}`, `[]`, `{"Statement":[]}`, ``,
	} {
		for kind := range uint8(3) {
			f.Add(doc, kind)
		}
	}
	f.Fuzz(func(t *testing.T, doc string, kind uint8) {
		p, err := policy.Parse(doc, policy.Kind(kind%3))
		if err != nil {
			var e *policy.SyntaxError
			if !errors.As(err, &e) || !errors.Is(err, policy.ErrMalformed) || e.IAM() == "" || e.S3() == "" {
				t.Fatalf("%#v", err)
			}
			return
		}
		canonical, err := p.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		again, err := policy.Parse(canonical, policy.Kind(kind%3))
		if err != nil {
			t.Fatalf("the canonical form %s: %v", canonical, err)
		}
		r := policy.Request{Principal: policy.Principal{ARN: "arn:aws:iam::111111111111:user/x", AccountID: "111111111111"}, Action: "s3:GetObject", Resource: "arn:aws:s3:::b/k",
			Context: policy.Values{"aws:username": {"x"}, "aws:tagkeys": {"a", "b"}, "s3:max-keys": {"5"}}}
		in, in2 := policy.Input{Identity: []*policy.Policy{p}, Resource: p}, policy.Input{Identity: []*policy.Policy{again}, Resource: again}
		d, x := policy.Evaluate(&r, &in), policy.Explain(&r, &in)
		if d2 := policy.Evaluate(&r, &in2); d.Reason != d2.Reason || d.Statement != d2.Statement {
			t.Fatalf("%v, the canonical form %v", d, d2)
		}
		if d != x.Decision || d.Policy != nil && len(x.Matches) == 0 {
			t.Fatalf("Evaluate says %v, Explain %+v", d, x)
		}
		for _, m := range x.Matches {
			start, end := m.Policy.Positions(m.Statement)
			if start.Line < 1 || start.Column < 2 || end.Line < start.Line || end.Line == start.Line && end.Column <= start.Column {
				t.Fatalf("statement %d of %q is from %v to %v", m.Statement, doc, start, end)
			}
		}
	})
}

// FuzzCondition compares one condition on one key with the naive evaluator.
func FuzzCondition(f *testing.F) {
	for i, op := range []string{"StringLike", "StringEquals", "StringNotEqualsIgnoreCase", "NumericLessThan", "DateGreaterThanEquals", "IpAddress", "ArnLike", "BinaryEquals", "Bool", "Null",
		"ForAllValues:StringLike", "ForAnyValue:StringNotLike", "NotIpAddressIfExists", "ForAllValues:ArnNotEquals"} {
		want := []string{"a*", "a${*}", "A", "5.5", "2024-01-01", "10.0.0.0/8", "arn:aws:iam::*:user/?", "AAEC", "true", "false", "${k:x}", "${k:none, 'd'}?", "::1", "arn:*:*:*:*:*"}[i]
		f.Add(op, want, "abc", "10.1.2.3", uint8(2))
		f.Add(op, want, "é", "arn:aws:iam::1:user/x", uint8(1))
		f.Add(op, want, "", "", uint8(0))
	}
	f.Fuzz(func(t *testing.T, op, want, have, other string, n uint8) {
		doc := marshal(map[string]any{"Version": "2012-10-17", "Statement": map[string]any{
			"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": map[string]any{op: map[string]any{"k:x": want}}}})
		p, err := policy.Parse(doc, policy.Identity)
		if err != nil || !comparable(op, want, have, other) {
			return
		}
		ctx := map[string][]string{}
		if n %= 3; n > 0 {
			ctx["k:x"] = []string{have, other}[:n]
		}
		r := naiveRequest{ARN: "arn:aws:iam::111111111111:user/x", Account: "111111111111", Action: "s3:GetObject", Resource: "*", Context: ctx}
		in := naivePolicies{Identity: []string{doc}}
		if fault := disagreement(evaluate(r, in, compiled{identity: []*policy.Policy{p}}), newNaive().evaluate(r, in)); fault != "" {
			t.Fatalf("%s with %q: %s", doc, ctx, fault)
		}
	})
}

// comparable leaves out what the naive evaluator reads by other rules: forms of
// numbers, dates and addresses at the edge of what their parsers take, and
// texts that are not UTF-8 or hold its private characters.
func comparable(op string, texts ...string) bool {
	for _, s := range texts {
		if strings.ToValidUTF8(s, "") != s || strings.ContainsAny(s, "\x01\x02") {
			return false
		}
		plain := strings.Trim(s, "0123456789.-") == "" && len(s) < 12
		switch {
		case strings.Contains(op, "Numeric") && !plain,
			strings.Contains(op, "Date") && strings.Trim(s, "0123456789TZ:.-") != "" || strings.Contains(op, "Date") && len(s) < 10,
			strings.Contains(op, "IpAddress") && strings.ContainsAny(s, "%"):
			return false
		}
	}
	return true
}

// FuzzResource compares a Resource pattern with the naive evaluator.
func FuzzResource(f *testing.F) {
	f.Add("arn:aws:s3:::data/*", "arn:aws:s3:::data/x", "u")
	f.Add("arn:aws:athena:us-*-1:*:workgroup/${k:x}", "arn:aws:athena:us-e-1:1:workgroup/u", "u")
	f.Add("arn:aws:a?b:c*d:*:x", "arn:aws:aéb:c:d:1:x", "")
	f.Add("arn:*:s3:::*${*}*", "arn:aws:s3:::a*b", "*")
	f.Fuzz(func(t *testing.T, pattern, resource, value string) {
		doc := marshal(map[string]any{"Version": "2012-10-17", "Statement": map[string]any{"Effect": "Allow", "Action": "*", "Resource": pattern}})
		p, err := policy.Parse(doc, policy.Identity)
		// A wildcard just before a variable depends on the value: the naive
		// evaluator looks at the policy's text only. Likewise text that is not UTF-8.
		if err != nil || strings.Contains(pattern, "*${") || strings.ToValidUTF8(pattern+resource+value, "") != pattern+resource+value {
			return
		}
		r := naiveRequest{ARN: "arn:aws:iam::111111111111:user/x", Account: "111111111111", Action: "s3:GetObject", Resource: resource, Context: map[string][]string{"k:x": {value}}}
		in := naivePolicies{Identity: []string{doc}}
		if fault := disagreement(evaluate(r, in, compiled{identity: []*policy.Policy{p}}), newNaive().evaluate(r, in)); fault != "" {
			t.Fatalf("%s on %q with %q: %s", doc, resource, value, fault)
		}
	})
}
