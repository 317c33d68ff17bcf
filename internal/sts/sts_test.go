package sts_test

//lint:file-ignore SA1019 PackedPolicySize has a successor, but is what clients know.

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	sdkiam "github.com/aws/aws-sdk-go-v2/service/iam"
	sdksts "github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"spoor/internal/awshttp"
)

func assume(arn string) *sdksts.AssumeRoleInput {
	return &sdksts.AssumeRoleInput{RoleArn: &arn, RoleSessionName: new("session")}
}

func tags(kv ...string) []ststypes.Tag {
	var out []ststypes.Tag
	for i := 0; i < len(kv); i += 2 {
		out = append(out, ststypes.Tag{Key: &kv[i], Value: &kv[i+1]})
	}
	return out
}

func TestAssumeRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	arn := w.role(account, "reader", trustAccount(account, "sts:AssumeRole"), allow("iam:GetUser"))
	alice := w.user(account, "alice", allow("sts:AssumeRole"))
	out, err := alice.AssumeRole(ctx, assume(arn))
	must(t, err)
	if got, want := *out.AssumedRoleUser.Arn, "arn:aws:sts::"+account+":assumed-role/reader/session"; got != want {
		t.Errorf("the session is %s, want %s", got, want)
	}
	if out.PackedPolicySize != nil || out.SourceIdentity != nil {
		t.Error("a session without policies has a packed size or a source identity")
	}
	if d := time.Until(*out.Credentials.Expiration); d < 59*time.Minute || d > time.Hour {
		t.Errorf("it lasts %s, want an hour", d)
	}
	s := w.session(out.Credentials)
	me, err := s.GetCallerIdentity(ctx, nil)
	must(t, err)
	if *me.Arn != *out.AssumedRoleUser.Arn || *me.UserId != *out.AssumedRoleUser.AssumedRoleId || *me.Account != account {
		t.Errorf("the session is %s, %s in %s", *me.Arn, *me.UserId, *me.Account)
	}
	_, err = s.iam.GetUser(ctx, &sdkiam.GetUserInput{UserName: new("alice")})
	must(t, err)
	_, err = s.iam.ListUsers(ctx, nil)
	wantError(t, err, "AccessDenied", "assumed-role/reader/session is not authorized to perform: iam:ListUsers")

	r := w.lastRecord("AssumeRole")
	if at(r, "readOnly") != true || at(r, "userIdentity", "type") != "IAMUser" || at(r, "responseElements", "credentials", "accessKeyId") != *out.Credentials.AccessKeyId {
		t.Errorf("the record is %v", r)
	}
	raw, err := json.Marshal(r)
	must(t, err)
	for _, secret := range []string{*out.Credentials.SecretAccessKey, *out.Credentials.SessionToken} {
		if strings.Contains(string(raw), secret) {
			t.Error("the record holds a secret")
		}
	}
}

func TestAssumeRoleRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	arn := w.role(account, "reader", trustAccount(account, "sts:AssumeRole", "sts:TagSession"), allow("iam:GetUser"))
	guarded := w.role(account, "guarded", strings.TrimSuffix(trustAccount(account, "sts:AssumeRole"), "}")+`,"Condition":{"StringEquals":{"sts:ExternalId":"12345"}}}`, "")
	mfa := w.role(account, "mfa", strings.TrimSuffix(trustAccount(account, "sts:AssumeRole"), "}")+`,"Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}}`, "")
	alice := w.user(account, "alice", allow("sts:*"))
	bob := w.user(account, "bob", "")
	with := func(set func(*sdksts.AssumeRoleInput)) *sdksts.AssumeRoleInput {
		in := assume(arn)
		set(in)
		return in
	}
	many := make([]ststypes.Tag, 0, 50)
	for i := range 50 {
		many = append(many, tags(fmt.Sprintf("k%02d%s", i, noise(i, 80)), noise(i+100, 200))...)
	}
	for name, tt := range map[string]struct {
		who        client
		in         *sdksts.AssumeRoleInput
		code, text string
	}{
		"root":             {w.root(account), assume(arn), "AccessDenied", "Roles may not be assumed by root accounts."},
		"not granted":      {bob, assume(arn), "AccessDenied", "is not authorized to perform: sts:AssumeRole"},
		"no such role":     {alice, assume(arn + "x"), "AccessDenied", "is not authorized to perform: sts:AssumeRole on resource: " + arn + "x"},
		"a user's ARN":     {alice, assume("arn:aws:iam::" + account + ":user/alice"), "ValidationError", "Request ARN is invalid"},
		"no ARN":           {alice, assume("just some words here"), "ValidationError", "is invalid"},
		"no external id":   {alice, assume(guarded), "AccessDenied", "sts:AssumeRole"},
		"no second factor": {alice, assume(mfa), "AccessDenied", "sts:AssumeRole"},
		"wrong external id": {alice, &sdksts.AssumeRoleInput{RoleArn: &guarded, RoleSessionName: new("s1"), ExternalId: new("54321")},
			"AccessDenied", "sts:AssumeRole"},
		"too long for the role": {alice, with(func(in *sdksts.AssumeRoleInput) { in.DurationSeconds = new(int32(7201)) }),
			"ValidationError", "exceeds the MaxSessionDuration set for this role"},
		"too long for any": {alice, with(func(in *sdksts.AssumeRoleInput) { in.DurationSeconds = new(int32(43201)) }),
			"ValidationError", "less than or equal to 43200"},
		"too short": {alice, with(func(in *sdksts.AssumeRoleInput) { in.DurationSeconds = new(int32(899)) }),
			"ValidationError", "greater than or equal to 900"},
		"short name": {alice, with(func(in *sdksts.AssumeRoleInput) { in.RoleSessionName = new("x") }),
			"ValidationError", "roleSessionName"},
		"a code of no device": {alice, with(func(in *sdksts.AssumeRoleInput) {
			in.SerialNumber, in.TokenCode = new("arn:aws:iam::"+account+":mfa/alice"), new("123456")
		}), "AccessDenied", "MultiFactorAuthentication failed"},
		"policy that does not parse": {alice, with(func(in *sdksts.AssumeRoleInput) { in.Policy = new("{") }),
			"MalformedPolicyDocument", ""},
		"policy that is too long": {alice, with(func(in *sdksts.AssumeRoleInput) { in.Policy = new(document(allow("s3:" + noise(1, 2048)))) }),
			"ValidationError", "Member must have length less than or equal to 2048"},
		"managed policy that does not exist": {alice, with(func(in *sdksts.AssumeRoleInput) {
			in.PolicyArns = []ststypes.PolicyDescriptorType{{Arn: new("arn:aws:iam::" + account + ":policy/none")}}
		}), "ValidationError", "does not exist or is not attachable"},
		"doubled tags": {alice, with(func(in *sdksts.AssumeRoleInput) { in.Tags = tags("team", "a", "Team", "b") }),
			"InvalidParameterValue", "Duplicate tag keys found"},
		"reserved tag": {alice, with(func(in *sdksts.AssumeRoleInput) { in.Tags = tags("aws:x", "a") }),
			"InvalidParameterValue", "reserved"},
		"transitive key without a tag": {alice, with(func(in *sdksts.AssumeRoleInput) { in.TransitiveTagKeys = []string{"team"} }),
			"InvalidParameterValue", "must be included in the requested tags"},
		"tags without the right to": {alice, func() *sdksts.AssumeRoleInput {
			in := assume(w.role(account, "untagged", trustAccount(account, "sts:AssumeRole"), ""))
			in.Tags = tags("team", "a")
			return in
		}(), "AccessDenied", "sts:TagSession"},
		"source identity without the right to": {alice, with(func(in *sdksts.AssumeRoleInput) { in.SourceIdentity = new("alice") }),
			"AccessDenied", "sts:SetSourceIdentity"},
		"too many tags": {alice, with(func(in *sdksts.AssumeRoleInput) { in.Tags = many }),
			"PackedPolicyTooLarge", "Packed size of session tags consumes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := tt.who.AssumeRole(ctx, tt.in)
			wantError(t, err, tt.code, tt.text)
		})
	}
}

// noise is a text that does not compress.
func noise(seed, n int) string {
	var b strings.Builder
	x := uint64(seed)*0x9e3779b97f4a7c15 + 1
	for range n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b.WriteByte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-"[x>>58])
	}
	return b.String()
}

func TestExternalID(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	arn := w.role(account, "partner", strings.TrimSuffix(trustAccount(other, "sts:AssumeRole"), "}")+`,"Condition":{"StringEquals":{"sts:ExternalId":"12345"}}}`, "")
	in := assume(arn)
	in.ExternalId = new("12345")
	out, err := w.admin(other).AssumeRole(ctx, in)
	must(t, err)
	if !strings.HasPrefix(*out.AssumedRoleUser.Arn, "arn:aws:sts::"+account+":") {
		t.Errorf("the session is %s, want one of the role's account", *out.AssumedRoleUser.Arn)
	}
	// Across accounts the trust policy is not enough.
	_, err = w.user(other, "nobody", "").AssumeRole(ctx, in)
	wantError(t, err, "AccessDenied", "sts:AssumeRole")
}

func TestSessionPolicies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	arn := w.role(account, "wide", trustAccount(account, "sts:AssumeRole"), allow("*"))
	admin := w.admin(account)
	in := assume(arn)
	in.Policy = new(document(`{"Effect":"Deny","Action":"iam:ListRoles","Resource":"*"}`))
	in.PolicyArns = []ststypes.PolicyDescriptorType{{Arn: new("arn:aws:iam::aws:policy/AmazonKeyspacesReadOnlyAccess")}, {Arn: new("arn:aws:iam::aws:policy/IAMFullAccess")}}
	out, err := admin.AssumeRole(ctx, in)
	must(t, err)
	if out.PackedPolicySize == nil || *out.PackedPolicySize < 1 || *out.PackedPolicySize > 20 { // AWS tells as little of its measure
		t.Errorf("the packed size is %v", out.PackedPolicySize)
	}
	s := w.session(out.Credentials)
	_, err = s.iam.GetUser(ctx, &sdkiam.GetUserInput{UserName: new("admin")})
	must(t, err)
	_, err = s.iam.ListUsers(ctx, nil)
	must(t, err)
	_, err = s.iam.ListRoles(ctx, nil)
	wantError(t, err, "AccessDenied", "explicit deny in a session policy")
	_, err = s.GetAccessKeyInfo(ctx, &sdksts.GetAccessKeyInfoInput{AccessKeyId: new("AKIAIOSFODNN7EXAMPLE")})
	wantError(t, err, "AccessDenied", "because no session policy allows the sts:GetAccessKeyInfo action")
}

func TestSessionTagsAndSourceIdentityThroughAChain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	all := trustAccount(account, "sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity")
	first := w.role(account, "first", all, allow("sts:*"))
	byTeam := `{"Effect":"Allow","Action":"iam:GetUser","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/team":"red"}}},` +
		`{"Effect":"Allow","Action":"iam:ListUsers","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/stage":"dev"}}},` +
		`{"Effect":"Allow","Action":"iam:ListRoles","Resource":"*","Condition":{"StringEquals":{"aws:SourceIdentity":"alice"}}}`
	second := w.role(account, "second", all, byTeam)
	in := assume(first)
	in.Tags, in.TransitiveTagKeys, in.SourceIdentity = tags("Team", "red", "stage", "dev"), []string{"team"}, new("alice")
	out, err := w.admin(account).AssumeRole(ctx, in)
	must(t, err)
	if *out.SourceIdentity != "alice" {
		t.Errorf("the source identity is %q", *out.SourceIdentity)
	}
	one := w.session(out.Credentials)

	out, err = one.AssumeRole(ctx, assume(second))
	must(t, err)
	if out.SourceIdentity == nil || *out.SourceIdentity != "alice" {
		t.Error("the source identity does not stay through the chain")
	}
	two := w.session(out.Credentials)
	_, err = two.iam.GetUser(ctx, &sdkiam.GetUserInput{UserName: new("admin")})
	must(t, err) // team is transitive
	_, err = two.iam.ListRoles(ctx, nil)
	must(t, err)
	_, err = two.iam.ListUsers(ctx, nil)
	wantError(t, err, "AccessDenied", "iam:ListUsers") // stage is not

	in = assume(second)
	in.Tags = tags("TEAM", "blue")
	_, err = one.AssumeRole(ctx, in)
	wantError(t, err, "InvalidParameterValue", "conflicts with a transitive tag key from the calling session")
	in = assume(second)
	in.SourceIdentity = new("bob")
	_, err = one.AssumeRole(ctx, in)
	wantError(t, err, "AccessDenied", "sts:SetSourceIdentity")
	in = assume(second)
	in.DurationSeconds = new(int32(3601))
	_, err = one.AssumeRole(ctx, in)
	wantError(t, err, "ValidationError", "1 hour session limit for roles assumed by role chaining")
	if id := at(w.lastRecord("ListRoles"), "userIdentity", "sessionContext", "sourceIdentity"); id != "alice" {
		t.Errorf("the record's source identity is %v", id)
	}
}

func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	admin := w.admin(account)
	trust := trustAccount(account, "sts:AssumeRole")
	arn := w.role(account, "short", trust, allow("iam:ListUsers"))
	out, err := admin.AssumeRole(ctx, assume(arn))
	must(t, err)
	s := w.session(out.Credentials)
	_, err = s.iam.ListUsers(ctx, nil)
	must(t, err)

	// Revoked: everything older than now is denied, what comes later is not.
	revoke := `{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:TokenIssueTime":"` + time.Now().Add(10*time.Second).UTC().Format(time.RFC3339) + `"}}}`
	_, err = admin.iam.PutRolePolicy(ctx, &sdkiam.PutRolePolicyInput{RoleName: new("short"), PolicyName: new("AWSRevokeOlderSessions"), PolicyDocument: new(document(revoke))})
	must(t, err)
	_, err = s.iam.ListUsers(ctx, nil)
	wantError(t, err, "AccessDenied", "explicit deny in an identity-based policy")
	w.later.Store(int64(20 * time.Second))
	out, err = admin.AssumeRole(ctx, assume(arn))
	must(t, err)
	_, err = w.session(out.Credentials).iam.ListUsers(ctx, nil)
	must(t, err)

	// Deleted and made again under the same name: another role.
	for _, name := range []string{"p", "AWSRevokeOlderSessions"} {
		_, err = admin.iam.DeleteRolePolicy(ctx, &sdkiam.DeleteRolePolicyInput{RoleName: new("short"), PolicyName: &name})
		must(t, err)
	}
	_, err = admin.iam.DeleteRole(ctx, &sdkiam.DeleteRoleInput{RoleName: new("short")})
	must(t, err)
	s = w.session(out.Credentials)
	_, err = s.GetCallerIdentity(ctx, nil)
	wantError(t, err, "InvalidClientTokenId", "The security token included in the request is invalid")
	w.role(account, "short", trust, allow("*"))
	_, err = s.GetCallerIdentity(ctx, nil)
	wantError(t, err, "InvalidClientTokenId", "The security token included in the request is invalid")

	out, err = admin.AssumeRole(ctx, assume(arn))
	must(t, err)
	w.later.Store(int64(2 * time.Hour))
	_, err = w.session(out.Credentials).GetCallerIdentity(ctx, nil)
	wantError(t, err, "ExpiredToken", "The security token included in the request is expired")
}

func TestForgedTokens(t *testing.T) {
	t.Parallel()
	w, w2 := newWorld(t, nil), newWorld(t, nil)
	admin := w.admin(account)
	out, err := admin.GetSessionToken(ctx, nil)
	must(t, err)
	again, err := admin.GetSessionToken(ctx, nil)
	must(t, err)
	good := out.Credentials
	flip := []byte(*good.SessionToken)
	flip[len(flip)/2] ^= 1
	for name, c := range map[string]client{
		"another session's":                   w.client(*good.AccessKeyId, *good.SecretAccessKey, *again.Credentials.SessionToken),
		"changed":                             w.client(*good.AccessKeyId, *good.SecretAccessKey, string(flip)),
		"cut":                                 w.client(*good.AccessKeyId, *good.SecretAccessKey, (*good.SessionToken)[:40]),
		"none":                                w.client(*good.AccessKeyId, *good.SecretAccessKey, ""),
		"of a user that does not exist there": w2.session(good),
	} {
		_, err := c.GetCallerIdentity(ctx, nil)
		t.Log(name)
		wantError(t, err, "InvalidClientTokenId", "The security token included in the request is invalid")
	}
	_, err = w.client(*good.AccessKeyId, *again.Credentials.SecretAccessKey, *good.SessionToken).GetCallerIdentity(ctx, nil)
	wantError(t, err, "SignatureDoesNotMatch", "")
}

func TestUserSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	arn := w.role(account, "reader", trustAccount(account, "sts:AssumeRole"), allow("iam:GetUser"))
	alice := w.user(account, "alice", allow("*"))
	out, err := alice.GetSessionToken(ctx, &sdksts.GetSessionTokenInput{DurationSeconds: new(int32(129_600))})
	must(t, err)
	s := w.session(out.Credentials)
	me, err := s.GetCallerIdentity(ctx, nil)
	must(t, err)
	if *me.Arn != "arn:aws:iam::"+account+":user/alice" {
		t.Errorf("the session is %s", *me.Arn)
	}
	_, err = s.AssumeRole(ctx, assume(arn))
	must(t, err)
	_, err = s.GetSessionToken(ctx, nil)
	wantError(t, err, "AccessDenied", "Cannot call GetSessionToken with session credentials")
	_, err = s.GetFederationToken(ctx, &sdksts.GetFederationTokenInput{Name: new("bob")})
	wantError(t, err, "AccessDenied", "Cannot call GetFederationToken with session credentials")
	_, err = s.GetAccessKeyInfo(ctx, &sdksts.GetAccessKeyInfoInput{AccessKeyId: out.Credentials.AccessKeyId})
	wantError(t, err, "AccessDenied", "sts:GetAccessKeyInfo")
	_, err = s.iam.ListUsers(ctx, nil)
	wantError(t, err, "InvalidClientTokenId", "")

	// Root's sessions last an hour at most.
	root, err := w.root(account).GetSessionToken(ctx, &sdksts.GetSessionTokenInput{DurationSeconds: new(int32(43_200))})
	must(t, err)
	if d := time.Until(*root.Credentials.Expiration); d > time.Hour {
		t.Errorf("root's session lasts %s", d)
	}
	_, err = alice.GetSessionToken(ctx, &sdksts.GetSessionTokenInput{SerialNumber: new("arn:aws:iam::1:mfa/x"), TokenCode: new("123456")})
	wantError(t, err, "AccessDenied", "MultiFactorAuthentication failed")

	// The user's end is the session's.
	admin := w.admin(account)
	keys, err := admin.iam.ListAccessKeys(ctx, &sdkiam.ListAccessKeysInput{UserName: new("alice")})
	must(t, err)
	_, err = admin.iam.DeleteAccessKey(ctx, &sdkiam.DeleteAccessKeyInput{UserName: new("alice"), AccessKeyId: keys.AccessKeyMetadata[0].AccessKeyId})
	must(t, err)
	_, err = admin.iam.DeleteUserPolicy(ctx, &sdkiam.DeleteUserPolicyInput{UserName: new("alice"), PolicyName: new("p")})
	must(t, err)
	_, err = admin.iam.DeleteUser(ctx, &sdkiam.DeleteUserInput{UserName: new("alice")})
	must(t, err)
	w.user(account, "alice", allow("*"))
	_, err = s.GetCallerIdentity(ctx, nil)
	wantError(t, err, "InvalidClientTokenId", "")
}

func TestFederatedUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	alice := w.user(account, "alice", allow("*"))
	in := &sdksts.GetFederationTokenInput{Name: new("bob"), Policy: new(document(allow("sts:GetAccessKeyInfo"))), Tags: tags("team", "red")}
	out, err := alice.GetFederationToken(ctx, in)
	must(t, err)
	if *out.FederatedUser.Arn != "arn:aws:sts::"+account+":federated-user/bob" || *out.FederatedUser.FederatedUserId != account+":bob" || out.PackedPolicySize == nil {
		t.Errorf("the federated user is %+v, %v", out.FederatedUser, out.PackedPolicySize)
	}
	s := w.session(out.Credentials)
	me, err := s.GetCallerIdentity(ctx, nil)
	must(t, err)
	if *me.Arn != *out.FederatedUser.Arn || *me.UserId != *out.FederatedUser.FederatedUserId {
		t.Errorf("the session is %s, %s", *me.Arn, *me.UserId)
	}
	_, err = s.GetAccessKeyInfo(ctx, &sdksts.GetAccessKeyInfoInput{AccessKeyId: out.Credentials.AccessKeyId})
	wantError(t, err, "AccessDenied", "sts:GetAccessKeyInfo") // no STS but GetCallerIdentity
	_, err = s.AssumeRole(ctx, assume(w.role(account, "r", trustAccount(account, "sts:AssumeRole"), "")))
	wantError(t, err, "AccessDenied", "sts:AssumeRole")
	_, err = w.user(account, "carol", "").GetFederationToken(ctx, in)
	wantError(t, err, "AccessDenied", "sts:GetFederationToken on resource: arn:aws:sts::"+account+":federated-user/bob")
	if r := w.lastRecord("GetCallerIdentity"); at(r, "userIdentity", "type") != "FederatedUser" || at(r, "userIdentity", "sessionContext", "sessionIssuer", "userName") == "bob" {
		t.Errorf("the record's identity is %v", at(r, "userIdentity"))
	}
}

func TestAccessKeyInfo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	admin := w.admin(account)
	out, err := admin.GetAccessKeyInfo(ctx, &sdksts.GetAccessKeyInfoInput{AccessKeyId: new(w.boot[other].AdminKeyID)})
	must(t, err)
	if *out.Account != other {
		t.Errorf("the key's account is %s, want %s", *out.Account, other)
	}
	_, err = admin.GetAccessKeyInfo(ctx, &sdksts.GetAccessKeyInfoInput{AccessKeyId: new("AKIA0000000000000000")})
	wantError(t, err, "ValidationError", "AKIA0000000000000000")
}

func TestDecodeAuthorizationMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	alice := w.user(account, "alice", `{"Sid":"NoUsers","Effect":"Deny","Action":"iam:CreateUser","Resource":"*"}`)
	_, err := alice.iam.CreateUser(ctx, &sdkiam.CreateUserInput{UserName: new("eve")})
	wantError(t, err, "AccessDenied", "with an explicit deny in an identity-based policy")
	encoded := alice.header.Load().Get(awshttp.EncodedDenialHeader)
	if encoded == "" {
		t.Fatal("the denial carries no encoded message")
	}
	if strings.Contains(err.Error(), encoded) {
		t.Error("the message itself holds the encoded one")
	}
	out, err := w.admin(account).DecodeAuthorizationMessage(ctx, &sdksts.DecodeAuthorizationMessageInput{EncodedMessage: &encoded})
	must(t, err)
	var m any
	must(t, json.Unmarshal([]byte(*out.DecodedMessage), &m))
	if at(m, "allowed") != false || at(m, "explicitDeny") != true || at(m, "context", "action") != "iam:CreateUser" ||
		at(m, "context", "principal", "arn") != "arn:aws:iam::"+account+":user/alice" || !strings.Contains(*out.DecodedMessage, "NoUsers") {
		t.Errorf("the message is %s", *out.DecodedMessage)
	}
	_, err = alice.DecodeAuthorizationMessage(ctx, &sdksts.DecodeAuthorizationMessageInput{EncodedMessage: &encoded})
	wantError(t, err, "AccessDenied", "sts:DecodeAuthorizationMessage")
	for name, text := range map[string]string{"another account's": encoded, "changed": encoded[:len(encoded)-1] + "~", "none": "x"} {
		c := w.admin(account)
		if name == "another account's" {
			c = w.admin(other)
		}
		_, err = c.DecodeAuthorizationMessage(ctx, &sdksts.DecodeAuthorizationMessageInput{EncodedMessage: &text})
		t.Log(name)
		wantError(t, err, "InvalidAuthorizationMessageException", "Message is not valid")
	}
	// A session token must not open as a message, nor a message as a token.
	s, err := w.admin(account).GetSessionToken(ctx, nil)
	must(t, err)
	_, err = w.admin(account).DecodeAuthorizationMessage(ctx, &sdksts.DecodeAuthorizationMessageInput{EncodedMessage: s.Credentials.SessionToken})
	wantError(t, err, "InvalidAuthorizationMessageException", "")
}

func TestLargeSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	arn := w.role(account, "wide", trustAccount(account, "sts:AssumeRole", "sts:TagSession"), allow("*"))
	in := assume(arn)
	var statements []string
	for i := range 20 {
		statements = append(statements, allow(fmt.Sprintf("iam:List%d*", i)))
	}
	in.Policy = new(document(strings.Join(append(statements, allow("iam:ListUsers")), ",")))
	for i := range 30 {
		in.Tags = append(in.Tags, tags(fmt.Sprintf("tag%d", i), strings.Repeat("v", 200))...)
	}
	out, err := w.admin(account).AssumeRole(ctx, in)
	must(t, err)
	if n := len(*out.Credentials.SessionToken); n > 4096 {
		t.Errorf("the session token has %d characters", n)
	}
	_, err = w.session(out.Credentials).iam.ListUsers(ctx, nil)
	must(t, err)
}
