package sts_test

//lint:file-ignore SA1019 PackedPolicySize has a successor, but is what clients know.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdksts "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/go-jose/go-jose/v4"

	"spoor/internal/oidc"
)

const issuerName = "token.example.com/ci"

// federation is an issuer of the test's.
type federation struct {
	t      testing.TB
	signer jose.Signer
}

func newFederation(t testing.TB) (*federation, *oidc.Verifier) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k"}}})
	must(t, err)
	file := filepath.Join(t.TempDir(), "keys.json")
	must(t, os.WriteFile(file, raw, 0o600))
	i, err := oidc.ParseIssuer("https://" + issuerName + " audience=sts.amazonaws.com jwks=" + file)
	must(t, err)
	v, err := oidc.NewVerifier([]oidc.Issuer{i}, time.Now)
	must(t, err)
	f := &federation{t: t}
	f.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
	must(t, err)
	return f, v
}

func (f *federation) token(sub string, with map[string]any) *string {
	f.t.Helper()
	claims := map[string]any{"iss": "https://" + issuerName, "sub": sub, "aud": "sts.amazonaws.com",
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	for k, v := range with {
		claims[k] = v
	}
	raw, err := json.Marshal(claims)
	must(f.t, err)
	j, err := f.signer.Sign(raw)
	must(f.t, err)
	out, err := j.CompactSerialize()
	must(f.t, err)
	return &out
}

// trustIssuer lets an issuer's subjects of a pattern in.
func trustIssuer(id, sub string, actions ...string) string {
	return `{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::` + id + `:oidc-provider/` + issuerName + `"},
		"Action":["` + strings.Join(append(actions, "sts:AssumeRoleWithWebIdentity"), `","`) + `"],
		"Condition":{"StringEquals":{"` + issuerName + `:aud":"sts.amazonaws.com"},"StringLike":{"` + issuerName + `:sub":"` + sub + `"}}}`
}

func TestWebIdentity(t *testing.T) {
	t.Parallel()
	f, v := newFederation(t)
	w := newWorld(t, v)
	arn := w.role(other, "deploy", trustIssuer(other, "repo:org/app:*"),
		`{"Effect":"Allow","Action":"iam:ListUsers","Resource":"*","Condition":{"StringLike":{"`+issuerName+`:sub":"*:main"}}}`)
	anybody := w.client("", "", "")
	in := func(sub string, with map[string]any) *sdksts.AssumeRoleWithWebIdentityInput {
		return &sdksts.AssumeRoleWithWebIdentityInput{RoleArn: &arn, RoleSessionName: new("job"), WebIdentityToken: f.token(sub, with)}
	}
	given := in("repo:org/app:main", nil)
	out, err := anybody.AssumeRoleWithWebIdentity(ctx, given)
	must(t, err)
	provider := "arn:aws:iam::" + other + ":oidc-provider/" + issuerName
	if *out.SubjectFromWebIdentityToken != "repo:org/app:main" || *out.Audience != "sts.amazonaws.com" || *out.Provider != provider {
		t.Errorf("the answer is %s, %s, %s", *out.SubjectFromWebIdentityToken, *out.Audience, *out.Provider)
	}
	r := w.lastRecord("AssumeRoleWithWebIdentity")
	raw, err := json.Marshal(r)
	must(t, err)
	for _, secret := range []string{*given.WebIdentityToken, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken} {
		if strings.Contains(string(raw), secret) {
			t.Error("the record holds a secret")
		}
	}
	if at(r, "recipientAccountId") != other || at(r, "userIdentity", "type") != "WebIdentityUser" || at(r, "userIdentity", "userName") != "repo:org/app:main" ||
		at(r, "userIdentity", "identityProvider") != provider || at(r, "userIdentity", "principalId") != provider+":sts.amazonaws.com:repo:org/app:main" ||
		at(r, "responseElements", "subjectFromWebIdentityToken") != "repo:org/app:main" {
		t.Errorf("the record is %s", raw)
	}

	// The session keeps the token's claims for its own policies.
	s := w.session(out.Credentials)
	_, err = s.iam.ListUsers(ctx, nil)
	must(t, err)
	if at(w.lastRecord("ListUsers"), "userIdentity", "sessionContext", "webIdFederationData", "federatedProvider") != provider {
		t.Error("the session's record does not name the provider")
	}
	out, err = anybody.AssumeRoleWithWebIdentity(ctx, in("repo:org/app:dev", nil))
	must(t, err)
	_, err = w.session(out.Credentials).iam.ListUsers(ctx, nil)
	wantError(t, err, "AccessDenied", "iam:ListUsers")
}

func TestWebIdentityRefusals(t *testing.T) {
	t.Parallel()
	f, v := newFederation(t)
	w := newWorld(t, v)
	arn := w.role(account, "deploy", trustIssuer(account, "repo:org/app:*"), "")
	foreign := w.role(account, "foreign", trustIssuer(other, "*"), "")
	anybody := w.client("", "", "")
	tag := map[string]any{"https://aws.amazon.com/tags": map[string]any{"principal_tags": map[string][]string{"team": {"red"}}}}
	const sub = "repo:org/app:main"
	flipped := *f.token(sub, nil)
	flipped = flipped[:len(flipped)-4] + "AAAA"
	for name, tt := range map[string]struct {
		arn        string
		token      *string
		code, text string
	}{
		"another subject":      {arn, f.token("repo:org/other", nil), "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity"},
		"another audience":     {arn, f.token(sub, map[string]any{"aud": "x"}), "InvalidIdentityToken", "Incorrect token audience"},
		"no such role":         {arn + "x", f.token(sub, nil), "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity"},
		"no such account":      {"arn:aws:iam::999999999999:role/x", f.token(sub, nil), "AccessDenied", "Not authorized"},
		"another's provider":   {foreign, f.token(sub, nil), "AccessDenied", "Not authorized"},
		"over":                 {arn, f.token(sub, map[string]any{"exp": 1}), "ExpiredTokenException", "must be before the expiration date/time 1"},
		"not signed":           {arn, &flipped, "InvalidIdentityToken", "verification key"},
		"not a token":          {arn, new("Atza|IQEBLjAsAhRmHjNgHpi0U"), "InvalidIdentityToken", "not a valid JWT"},
		"unknown issuer":       {arn, f.token(sub, map[string]any{"iss": "https://evil.example.com"}), "InvalidIdentityToken", "No OpenIDConnect provider found in your account for https://evil.example.com"},
		"tags, no right to":    {arn, f.token(sub, tag), "AccessDenied", "Not authorized to perform sts:TagSession"},
		"a malformed role ARN": {"arn:aws:s3:::bucket/and/so/on", f.token(sub, nil), "ValidationError", "Request ARN is invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := anybody.AssumeRoleWithWebIdentity(ctx, &sdksts.AssumeRoleWithWebIdentityInput{RoleArn: &tt.arn, RoleSessionName: new("job"), WebIdentityToken: tt.token})
			wantError(t, err, tt.code, tt.text)
		})
	}
	_, err := anybody.AssumeRoleWithWebIdentity(ctx, &sdksts.AssumeRoleWithWebIdentityInput{RoleArn: &arn, RoleSessionName: new("job"), WebIdentityToken: f.token(sub, nil), ProviderId: new("www.amazon.com")})
	wantError(t, err, "InvalidIdentityToken", "Unsupported provider")
	// No other operation goes unsigned.
	_, err = anybody.GetCallerIdentity(ctx, nil)
	if err == nil {
		t.Error("an unsigned GetCallerIdentity succeeds")
	}
}

func TestWebIdentityTags(t *testing.T) {
	t.Parallel()
	f, v := newFederation(t)
	w := newWorld(t, v)
	arn := w.role(account, "deploy", trustIssuer(account, "*", "sts:TagSession", "sts:SetSourceIdentity"),
		`{"Effect":"Allow","Action":"iam:ListUsers","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/team":"red","aws:SourceIdentity":"alice"}}}`)
	out, err := w.client("", "", "").AssumeRoleWithWebIdentity(ctx, &sdksts.AssumeRoleWithWebIdentityInput{RoleArn: &arn, RoleSessionName: new("job"),
		WebIdentityToken: f.token("somebody", map[string]any{"https://aws.amazon.com/source_identity": "alice",
			"https://aws.amazon.com/tags": map[string]any{"principal_tags": map[string][]string{"team": {"red"}}}})})
	must(t, err)
	if out.SourceIdentity == nil || *out.SourceIdentity != "alice" || out.PackedPolicySize == nil {
		t.Errorf("the answer has source identity %v and packed size %v", out.SourceIdentity, out.PackedPolicySize)
	}
	_, err = w.session(out.Credentials).iam.ListUsers(ctx, nil)
	must(t, err)
}

func TestNoIssuers(t *testing.T) {
	t.Parallel()
	f, _ := newFederation(t)
	w := newWorld(t, nil)
	arn := w.role(account, "deploy", trustIssuer(account, "*"), "")
	_, err := w.client("", "", "").AssumeRoleWithWebIdentity(ctx, &sdksts.AssumeRoleWithWebIdentityInput{RoleArn: &arn, RoleSessionName: new("job"), WebIdentityToken: f.token("x", nil)})
	wantError(t, err, "InvalidIdentityToken", "No OpenIDConnect provider found in your account")
}
