package iam

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"spoor/internal/aws"
	"spoor/internal/call"
)

// TestRecordedContextKeys: the keys that a record carries are those that the call was
// judged by, at that time; what the call does not have is left out.
func TestRecordedContextKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	keys := []string{"aws:PrincipalArn", "aws:CurrentTime", "aws:EpochTime", "aws:MultiFactorAuthAge", "aws:MultiFactorAuthPresent", "aws:ViaAWSService",
		"aws:SourceVpc", "aws:username", "aws:CalledVia"}
	c := &call.Call{Judged: at, AccountID: "111122223333", Region: "us-east-1", Caller: &aws.Caller{Type: aws.IAMUser, AccountID: "111122223333", UserName: "alice", ARN: "arn:aws:iam::111122223333:user/alice"}}
	for name, tc := range map[string]struct {
		session *aws.Session
		via     string
		want    map[string]string
	}{
		"a user": {nil, "", map[string]string{"aws:PrincipalArn": "arn:aws:iam::111122223333:user/alice", "aws:CurrentTime": "2026-11-24T09:00:00Z", "aws:EpochTime": "1795510800",
			"aws:ViaAWSService": "false", "aws:username": "alice"}},
		"through Athena": {&aws.Session{CreationDate: at.Add(-time.Minute)}, "athena.amazonaws.com", map[string]string{"aws:PrincipalArn": "arn:aws:iam::111122223333:user/alice",
			"aws:CurrentTime": "2026-11-24T09:00:00Z", "aws:EpochTime": "1795510800", "aws:ViaAWSService": "true", "aws:username": "alice", "aws:MultiFactorAuthPresent": "true",
			"aws:MultiFactorAuthAge": "60", "aws:CalledVia": "athena.amazonaws.com"}},
	} {
		x := *c
		caller := *c.Caller
		caller.Session, caller.MFA, x.ViaService, x.Caller = tc.session, tc.session != nil, tc.via, &caller
		if d := cmp.Diff(tc.want, w.dir.ContextKeys(&x, &call.Permission{}, keys)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}
