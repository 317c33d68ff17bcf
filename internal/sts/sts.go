// Package sts is the AWS Security Token Service: temporary credentials for
// roles, users and federated users. It stands in the handle step of a call's
// path; the credentials themselves are the iam package's, sealed into their
// session tokens, and web identities' tokens are the oidc package's.
//
// Source: AWS STS API reference, version 2011-06-15.
package sts

//lint:file-ignore SA1019 PackedPolicySize has a successor, but is what clients know.

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/iam"
	"spoor/internal/oidc"
	"spoor/internal/record"
)

// Durations in seconds (STS API reference, DurationSeconds).
const (
	minDuration         = 900
	maxUserDuration     = 129_600 // GetSessionToken, GetFederationToken: 36 hours
	maxRootDuration     = 3600
	defaultRoleDuration = 3600
	defaultUserDuration = 43_200
	maxChainedDuration  = 3600 // a role that assumes a role
)

// Verifier verifies web identities' tokens. *oidc.Verifier is one. Its errors
// are *oidc.Error.
type Verifier interface {
	Verify(ctx context.Context, token string) (*oidc.Identity, error)
}

// Config is what New needs.
type Config struct {
	Directory *iam.Directory
	// Issuers may be nil: then there is no web identity federation.
	Issuers Verifier
	// Guessed, when set, is told of a web identity's token that nobody trusted
	// has signed, and from where it came.
	Guessed func(sourceIP string)
}

type api struct {
	d       *iam.Directory
	issuers Verifier
	guessed func(sourceIP string)
}

// New is AWS STS as the HTTP listener serves it.
func New(c Config) *call.Service {
	s := &api{c.Directory, c.Issuers, c.Guessed}
	return &call.Service{
		Name: "sts", EventSource: "sts.amazonaws.com", APIVersion: "2011-06-15", Protocol: call.Query,
		XMLNamespace: "https://sts.amazonaws.com/doc/2011-06-15/",
		Operations: []call.Operation{
			// Everybody may ask who they are (STS API reference).
			call.Op("GetCallerIdentity", nil, s.getCallerIdentity, call.ReadOnly),
			call.Op("AssumeRole", s.assumeRolePermissions, s.assumeRole, call.Describe(s.describeAssumeRole),
				call.Partial("multi-factor devices, ProvidedContexts")),
			call.Op("AssumeRoleWithWebIdentity", s.webIdentityPermissions, s.assumeRoleWithWebIdentity,
				call.Unsigned, call.Describe(s.describeWebIdentity), call.Partial("OAuth 2.0 access tokens with ProviderId; issuers are configuration")),
			call.Op("GetSessionToken", s.sessionTokenPermissions, s.getSessionToken, call.Omit("TokenCode"), call.Partial("multi-factor devices"),
				call.Describe(readOnly[sdk.GetSessionTokenInput, sdk.GetSessionTokenOutput])),
			call.Op("GetFederationToken", s.federationPermissions, s.getFederationToken,
				call.Describe(readOnly[sdk.GetFederationTokenInput, sdk.GetFederationTokenOutput])),
			call.Op("GetAccessKeyInfo", s.accessKeyInfoPermissions, s.getAccessKeyInfo, call.ReadOnly),
			call.Op("DecodeAuthorizationMessage", s.decodePermissions, s.decodeAuthorizationMessage, call.ReadOnly),
		},
		RefusedError: func(operation string) error {
			return &aws.Error{Op: "sts." + operation, Kind: aws.Unsupported, Status: http.StatusNotImplemented, Code: "UnsupportedOperation",
				Message: "The operation " + operation + " is not offered by this server."}
		},
	}
}

func str(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func invalid(format string, args ...any) error {
	return &aws.Error{Op: "sts", Kind: aws.Invalid, Status: http.StatusBadRequest, Code: "ValidationError", Message: fmt.Sprintf(format, args...)}
}

func invalidParameter(format string, args ...any) error {
	return &aws.Error{Op: "sts", Kind: aws.Invalid, Status: http.StatusBadRequest, Code: "InvalidParameterValue", Message: fmt.Sprintf(format, args...)}
}

func denied(format string, args ...any) error {
	return &aws.Error{Op: "sts", Kind: aws.Denied, Status: http.StatusForbidden, Code: "AccessDenied", Message: fmt.Sprintf(format, args...)}
}

// notAuthorized is AWS's denial where no reason is told.
func notAuthorized(c *call.Call, action, resource string) error {
	return denied("User: %s is not authorized to perform: %s on resource: %s", c.Caller.ARN, action, resource)
}

// readOnly marks the record of an operation that answers with credentials:
// CloudTrail calls it read-only and shows its answer.
func readOnly[I, O any](_ *call.Call, _ *I, _ *O, _ error, r *record.Record) { r.ReadOnly = true }

// longTerm insists on what some operations need: a long-term credential.
func longTerm(c *call.Call, operation string) error {
	if c.Caller.Session != nil {
		return denied("Cannot call %s with session credentials", operation)
	}
	return nil
}

// notFromUserSession keeps sessions of GetSessionToken and GetFederationToken
// from operations of STS other than GetCallerIdentity and, for the former,
// AssumeRole (IAM user guide, "Compare AWS STS credentials").
func notFromUserSession(c *call.Call, action string) error {
	s := c.Caller.Session
	if s == nil || c.Caller.Type == aws.AssumedRole || action == "sts:AssumeRole" && c.Caller.Type == aws.IAMUser {
		return nil
	}
	return denied("User: %s is not authorized to perform: %s", c.Caller.ARN, action)
}

// noDevice answers a multi-factor code: there are no devices here, so none is
// the caller's.
func noDevice(serial, code *string) error {
	if str(serial) == "" && str(code) == "" {
		return nil
	}
	return denied("MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial number is valid and associated with this user.")
}

func (s *api) getCallerIdentity(_ context.Context, c *call.Call, _ *sdk.GetCallerIdentityInput) (*sdk.GetCallerIdentityOutput, error) {
	return &sdk.GetCallerIdentityOutput{Account: new(c.Caller.AccountID), Arn: new(c.Caller.ARN), UserId: new(c.Caller.PrincipalID)}, nil
}

// userDuration is the length of a session of GetSessionToken or
// GetFederationToken. Root's are cut to an hour, not refused (STS API
// reference).
func userDuration(c *call.Call, given *int32) time.Duration {
	d := int32(defaultUserDuration)
	if given != nil {
		d = *given
	}
	if c.Caller.Type == aws.Root {
		d = min(d, maxRootDuration)
	}
	return time.Duration(min(d, maxUserDuration)) * time.Second
}

// owner is the id that a user's session is bound to; root has none.
func owner(c *call.Call) string {
	if c.Caller.Type == aws.Root {
		return ""
	}
	return c.Caller.PrincipalID
}

func credentials(c iam.SessionCredentials) *types.Credentials {
	return &types.Credentials{AccessKeyId: new(c.AccessKeyID), SecretAccessKey: new(c.SecretAccessKey), SessionToken: new(c.SessionToken), Expiration: new(c.Expiration)}
}

// sessionTokenPermissions: a long-term credential needs no permission.
func (s *api) sessionTokenPermissions(c *call.Call, _ *sdk.GetSessionTokenInput) ([]call.Permission, error) {
	return nil, longTerm(c, "GetSessionToken")
}

func (s *api) getSessionToken(_ context.Context, c *call.Call, in *sdk.GetSessionTokenInput) (*sdk.GetSessionTokenOutput, error) {
	if err := noDevice(in.SerialNumber, in.TokenCode); err != nil {
		return nil, err
	}
	made, err := s.d.Issue(iam.SessionRequest{Account: c.AccountID, Type: c.Caller.Type, PrincipalID: owner(c), Duration: userDuration(c, in.DurationSeconds)})
	if err != nil {
		return nil, err
	}
	return &sdk.GetSessionTokenOutput{Credentials: credentials(made)}, nil
}

func federatedARN(c *call.Call, name *string) string {
	return aws.NewARN("sts", "", c.AccountID, "federated-user/"+str(name)).String()
}

func (s *api) federationPermissions(c *call.Call, in *sdk.GetFederationTokenInput) ([]call.Permission, error) {
	if err := longTerm(c, "GetFederationToken"); err != nil {
		return nil, err
	}
	t, err := newTags(in.Tags, nil, nil)
	if err != nil {
		return nil, err
	}
	p := call.Permission{Action: "sts:GetFederationToken", Resource: federatedARN(c, in.Name), Context: t.context()}
	perms := []call.Permission{p}
	if len(t.tags) > 0 {
		p.Action = "sts:TagSession"
		perms = append(perms, p)
	}
	return perms, nil
}

func (s *api) getFederationToken(_ context.Context, c *call.Call, in *sdk.GetFederationTokenInput) (*sdk.GetFederationTokenOutput, error) {
	t, err := newTags(in.Tags, nil, nil)
	if err != nil {
		return nil, err
	}
	r := iam.SessionRequest{Account: c.AccountID, Type: aws.FederatedUser, PrincipalID: owner(c), Name: str(in.Name),
		Duration: userDuration(c, in.DurationSeconds), Tags: t.tags}
	size, err := s.narrow(&r, in.Policy, in.PolicyArns)
	if err != nil {
		return nil, err
	}
	made, err := s.d.Issue(r)
	if err != nil {
		return nil, err
	}
	return &sdk.GetFederationTokenOutput{Credentials: credentials(made), PackedPolicySize: size,
		FederatedUser: &types.FederatedUser{Arn: new(federatedARN(c, in.Name)), FederatedUserId: new(c.AccountID + ":" + str(in.Name))}}, nil
}

func (s *api) accessKeyInfoPermissions(c *call.Call, _ *sdk.GetAccessKeyInfoInput) ([]call.Permission, error) {
	return []call.Permission{{Action: "sts:GetAccessKeyInfo", Resource: "*"}}, notFromUserSession(c, "sts:GetAccessKeyInfo")
}

// getAccessKeyInfo reads the account from the key's id, as AWS does: whether the
// key exists is not told.
func (s *api) getAccessKeyInfo(_ context.Context, _ *call.Call, in *sdk.GetAccessKeyInfoInput) (*sdk.GetAccessKeyInfoOutput, error) {
	account, ok := iam.AccountOfKey(str(in.AccessKeyId))
	if !ok {
		return nil, invalid("Invalid value for AccessKeyId: %s", str(in.AccessKeyId))
	}
	return &sdk.GetAccessKeyInfoOutput{Account: &account}, nil
}

func (s *api) decodePermissions(c *call.Call, _ *sdk.DecodeAuthorizationMessageInput) ([]call.Permission, error) {
	return []call.Permission{{Action: "sts:DecodeAuthorizationMessage", Resource: "*"}}, notFromUserSession(c, "sts:DecodeAuthorizationMessage")
}

// decodeAuthorizationMessage opens the particulars that denials of this server
// carry in a header (see iam's denial). Another account's are not opened.
func (s *api) decodeAuthorizationMessage(_ context.Context, c *call.Call, in *sdk.DecodeAuthorizationMessageInput) (*sdk.DecodeAuthorizationMessageOutput, error) {
	message, ok := s.d.DecodeDenial(c.AccountID, strings.TrimSpace(str(in.EncodedMessage)))
	if !ok {
		return nil, &aws.Error{Op: "sts.DecodeAuthorizationMessage", Kind: aws.Invalid, Status: http.StatusBadRequest,
			Code: "InvalidAuthorizationMessageException", Message: "Message is not valid"}
	}
	return &sdk.DecodeAuthorizationMessageOutput{DecodedMessage: &message}, nil
}
