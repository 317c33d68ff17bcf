package sts

//lint:file-ignore SA1019 PackedPolicySize has a successor, but is what clients know.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/iam"
	"spoor/internal/oidc"
	"spoor/internal/record"
)

// A web identity has no credential of this server's: its token is one. The
// operation is therefore unsigned, and its caller is known once the token is
// verified, in the step of permissions.

// webIdentityPermissions verifies the token and makes its subject the call's
// caller. The role's trust policy alone decides, by the token's claims.
func (s *api) webIdentityPermissions(c *call.Call, in *sdk.AssumeRoleWithWebIdentityInput) ([]call.Permission, error) {
	c.Caller = &aws.Caller{Type: aws.Unknown}
	if err := roleARN(in.RoleArn); err != nil {
		return nil, err
	}
	p, err := aws.ParseARN(*in.RoleArn)
	if err != nil {
		return nil, invalid("Request ARN is invalid")
	}
	if s.d.HasAccount(p.Account) {
		c.AccountID = p.Account
	}
	if str(in.ProviderId) != "" {
		// It names a provider of OAuth 2.0 access tokens, which are not JWTs.
		return nil, identityError("InvalidIdentityToken", http.StatusBadRequest, "Unsupported provider: only OpenID Connect ID tokens are accepted, without ProviderId.", nil)
	}
	if s.issuers == nil {
		return nil, identityError("InvalidIdentityToken", http.StatusBadRequest, "No OpenIDConnect provider found in your account", nil)
	}
	// Nothing here knows the listener's context, and the verifier bounds itself.
	id, err := s.issuers.Verify(context.Background(), str(in.WebIdentityToken))
	if err != nil {
		var e *oidc.Error
		if s.guessed != nil && errors.As(err, &e) && (e.Reason == oidc.Malformed || e.Reason == oidc.UnknownIssuer || e.Reason == oidc.BadSignature) {
			s.guessed(c.SourceIP)
		}
		return nil, tokenError(err)
	}
	t, err := newTags(sdkTags(id.Tags), id.TransitiveTagKeys, nil)
	if err != nil {
		return nil, err
	}
	provider := aws.NewARN("iam", "", p.Account, "oidc-provider/"+id.Issuer).String()
	c.Caller = &aws.Caller{Type: aws.WebIdentityUser, UserName: id.Subject, IdentityProvider: provider,
		PrincipalID: provider + ":" + id.Audience + ":" + id.Subject}
	role, ok := s.d.RoleByARN(*in.RoleArn)
	if !ok {
		return nil, denied("Not authorized to perform sts:AssumeRoleWithWebIdentity")
	}
	keys := claimKeys(id)
	keys["sts:rolesessionname"] = []string{str(in.RoleSessionName)}
	keys["aws:federatedprovider"] = []string{provider}
	return rolePermissions("sts:AssumeRoleWithWebIdentity", role, &t, keys, id.SourceIdentity), nil
}

func sdkTags(tags map[string]string) []types.Tag {
	var out []types.Tag
	for k, v := range tags {
		out = append(out, types.Tag{Key: new(k), Value: new(v)})
	}
	return out
}

// claimKeys are the condition keys of a token (IAM user guide, "IAM and AWS STS
// condition context keys", keys for AWS OIDC federation).
func claimKeys(id *oidc.Identity) map[string][]string {
	name := strings.ToLower(id.Issuer)
	out := map[string][]string{name + ":sub": {id.Subject}, name + ":aud": id.Audiences}
	if len(id.Methods) > 0 {
		out[name+":amr"] = id.Methods
	}
	return out
}

// tokenError is AWS's answer to a token that does not verify.
func tokenError(err error) error {
	var e *oidc.Error
	if !errors.As(err, &e) {
		return err
	}
	bad := func(format string, args ...any) error {
		return identityError("InvalidIdentityToken", http.StatusBadRequest, fmt.Sprintf(format, args...), err)
	}
	switch e.Reason {
	case oidc.UnknownIssuer:
		return bad("No OpenIDConnect provider found in your account for %s", e.Detail)
	case oidc.WrongAudience:
		return bad("Incorrect token audience")
	case oidc.MissingClaim:
		return bad("Missing a required claim: %s", e.Detail)
	case oidc.BadClaim:
		return bad("The claim %s is not valid", e.Detail)
	case oidc.Expired:
		return identityError("ExpiredTokenException", http.StatusBadRequest,
			fmt.Sprintf("Token expired: current date/time %d must be before the expiration date/time %d", e.Now.Unix(), e.At.Unix()), err)
	case oidc.NotYetValid:
		return bad("Token is not yet valid: current date/time %d must be after %d", e.Now.Unix(), e.At.Unix())
	case oidc.BadSignature:
		return bad("Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements")
	case oidc.UnsupportedAlgorithm:
		return bad("The token's signature algorithm is not supported")
	case oidc.Unreachable:
		return identityError("IDPCommunicationError", http.StatusBadRequest, "Couldn't communicate with the identity provider", err)
	}
	return bad("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
}

func (s *api) assumeRoleWithWebIdentity(ctx context.Context, c *call.Call, in *sdk.AssumeRoleWithWebIdentityInput) (*sdk.AssumeRoleWithWebIdentityOutput, error) {
	role, ok := s.d.RoleByARN(str(in.RoleArn))
	if !ok {
		return nil, denied("Not authorized to perform sts:AssumeRoleWithWebIdentity")
	}
	id, err := s.issuers.Verify(ctx, str(in.WebIdentityToken))
	if err != nil {
		return nil, tokenError(err)
	}
	t, err := newTags(sdkTags(id.Tags), id.TransitiveTagKeys, nil)
	if err != nil {
		return nil, err
	}
	d, err := roleDuration(in.DurationSeconds, role, false)
	if err != nil {
		return nil, err
	}
	r := iam.SessionRequest{Account: role.Account, Type: aws.AssumedRole, PrincipalID: role.ID, Name: str(in.RoleSessionName), Duration: d,
		SourceIdentity: id.SourceIdentity, Tags: t.tags, TransitiveTagKeys: t.transitive,
		FederatedProvider: c.Caller.IdentityProvider, Claims: claimKeys(id)}
	size, err := s.narrow(&r, in.Policy, in.PolicyArns)
	if err != nil {
		return nil, err
	}
	made, err := s.d.Issue(r)
	if err != nil {
		return nil, err
	}
	return &sdk.AssumeRoleWithWebIdentityOutput{Credentials: credentials(made), AssumedRoleUser: assumed(made), Audience: new(id.Audience),
		PackedPolicySize: size, Provider: new(c.Caller.IdentityProvider), SourceIdentity: optional(id.SourceIdentity),
		SubjectFromWebIdentityToken: new(id.Subject)}, nil
}

func (s *api) describeWebIdentity(c *call.Call, in *sdk.AssumeRoleWithWebIdentityInput, _ *sdk.AssumeRoleWithWebIdentityOutput, _ error, r *record.Record) {
	s.describeRole(c, in.RoleArn, r)
}
