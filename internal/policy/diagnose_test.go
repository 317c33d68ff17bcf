package policy_test

import (
	"math/rand/v2"
	"testing"

	"spoor/internal/policy"
)

// TestDiagnoseAgreesWithEvaluate: for principals that only the resource policy
// decides on, what the diagnosed statements make together is the decision.
func TestDiagnoseAgreesWithEvaluate(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	g := generator{rand.New(rand.NewPCG(seed, 1))}
	allowed, denied := 0, 0
	for range 3000 {
		text := g.document(true)
		p, err := policy.Parse(text, policy.Resource)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, text)
		}
		for range 5 {
			r := g.request()
			q := &policy.Request{Principal: policy.Principal{Service: "cloudtrail.amazonaws.com"}, Action: r.Action, Resource: r.Resource, Context: policy.Values(r.Context)}
			allow, deny := false, false
			for _, d := range p.Diagnose(q) {
				if d.Applies() {
					allow, deny = allow || !d.Deny, deny || d.Deny
				}
			}
			got := policy.Evaluate(q, &policy.Input{Resource: p})
			if got.Allowed != (allow && !deny) || got.Explicit() != deny {
				t.Fatalf("seed %d: the statements say allow %v and deny %v, the decision is %v\n%+v\n%s", seed, allow, deny, got.Reason, q, text)
			}
			if got.Allowed {
				allowed++
			} else if deny {
				denied++
			}
		}
	}
	if allowed < 50 || denied < 50 {
		t.Errorf("%d requests were allowed and %d denied: too few to prove anything", allowed, denied)
	}
}
