// Package sts is the AWS Security Token Service: temporary credentials for
// roles, users and federated users. It stands in the handle step of a call's
// path; the credentials themselves are the iam package's, sealed into their
// session tokens.
//
// Source: AWS STS API reference, version 2011-06-15.
package sts

import (
	"context"
	"fmt"
	"net/http"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/iam"
	"spoor/internal/record"
)

// Durations in seconds (STS API reference, DurationSeconds).
const (
	minDuration          = 900
	maxUserDuration      = 129_600 // GetSessionToken, GetFederationToken: 36 hours
	maxRootDuration      = 3600
	defaultRoleDuration  = 3600
	defaultUserDuration  = 43_200
	maxChainedDuration   = 3600 // a role that assumes a role
	maxSessionPolicyARNs = 10
)

type api struct{ d *iam.Directory }

// New is AWS STS as the HTTP listener serves it.
func New(d *iam.Directory) *call.Service {
	s := &api{d}
	return &call.Service{
		Name: "sts", EventSource: "sts.amazonaws.com", APIVersion: "2011-06-15", Protocol: call.Query,
		XMLNamespace: "https://sts.amazonaws.com/doc/2011-06-15/",
		Operations: []call.Operation{
			// Everybody may ask who they are (STS API reference).
			call.Op("GetCallerIdentity", nil, s.getCallerIdentity, call.ReadOnly),
			call.Op("AssumeRole", s.assumeRolePermissions, s.assumeRole, call.Describe(s.describeAssumeRole)),
			call.Op("GetSessionToken", nil, s.getSessionToken, call.Omit("TokenCode")),
			call.Op("GetFederationToken", s.federationPermissions, s.getFederationToken),
			call.Op("GetAccessKeyInfo", func(*call.Call, *sdk.GetAccessKeyInfoInput) ([]call.Permission, error) {
				return []call.Permission{{Action: "sts:GetAccessKeyInfo", Resource: "*"}}, nil
			}, s.getAccessKeyInfo, call.ReadOnly),
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

func invalid(format string, args ...any) error {
	return &aws.Error{Op: "sts", Kind: aws.Invalid, Status: http.StatusBadRequest, Code: "ValidationError", Message: fmt.Sprintf(format, args...)}
}

func (s *api) getCallerIdentity(_ context.Context, c *call.Call, _ *sdk.GetCallerIdentityInput) (*sdk.GetCallerIdentityOutput, error) {
	return &sdk.GetCallerIdentityOutput{Account: new(c.Caller.AccountID), Arn: new(c.Caller.ARN), UserId: new(c.Caller.PrincipalID)}, nil
}

// assumeRolePermissions: the role's trust policy is the resource's policy, and
// across accounts the caller's own must allow as well.
func (s *api) assumeRolePermissions(c *call.Call, in *sdk.AssumeRoleInput) ([]call.Permission, error) {
	p := call.Permission{Action: "sts:AssumeRole", Resource: str(in.RoleArn), Context: map[string][]string{"sts:rolesessionname": {str(in.RoleSessionName)}}}
	if in.ExternalId != nil {
		p.Context["sts:externalid"] = []string{*in.ExternalId}
	}
	if in.SourceIdentity != nil {
		p.Context["sts:sourceidentity"] = []string{*in.SourceIdentity}
	}
	var keys []string
	for _, t := range in.Tags {
		p.Context["aws:requesttag/"+str(t.Key)] = []string{str(t.Value)}
		keys = append(keys, str(t.Key))
	}
	if keys != nil {
		p.Context["aws:tagkeys"] = keys
	}
	role, ok := s.d.RoleByARN(str(in.RoleArn))
	if !ok || c.Caller.Type == aws.Root {
		// A role that does not exist and one that is not granted look the same.
		return nil, &aws.Error{Op: "sts.AssumeRole", Kind: aws.Denied, Code: "AccessDenied", Message: denied(c, in)}
	}
	p.ResourcePolicy, p.ResourceAccount = role.Trust, role.Account
	return []call.Permission{p}, nil
}

func denied(c *call.Call, in *sdk.AssumeRoleInput) string {
	if c.Caller.Type == aws.Root {
		return "Roles may not be assumed by root accounts."
	}
	return fmt.Sprintf("User: %s is not authorized to perform: sts:AssumeRole on resource: %s", c.Caller.ARN, str(in.RoleArn))
}

func duration(given *int32, def, limit int32) (time.Duration, error) {
	d := def
	if given != nil {
		d = *given
	}
	if d < minDuration {
		return 0, invalid("1 validation error detected: Value '%d' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to %d", d, minDuration)
	}
	if d > limit {
		return 0, invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	return time.Duration(d) * time.Second, nil
}

func (s *api) assumeRole(_ context.Context, c *call.Call, in *sdk.AssumeRoleInput) (*sdk.AssumeRoleOutput, error) {
	role, ok := s.d.RoleByARN(str(in.RoleArn))
	if !ok {
		return nil, &aws.Error{Op: "sts.AssumeRole", Kind: aws.Denied, Code: "AccessDenied", Message: denied(c, in)}
	}
	limit := role.MaxSession
	if c.Caller.Type == aws.AssumedRole {
		limit = maxChainedDuration
	}
	d, err := duration(in.DurationSeconds, min(defaultRoleDuration, limit), limit)
	if err != nil {
		return nil, err
	}
	r := iam.SessionRequest{Account: role.Account, Type: aws.AssumedRole, PrincipalID: role.ID, Name: str(in.RoleSessionName), Duration: d,
		SourceIdentity: str(in.SourceIdentity), TransitiveTagKeys: in.TransitiveTagKeys}
	if c.Caller.Session != nil && r.SourceIdentity == "" {
		r.SourceIdentity = c.Caller.Session.SourceIdentity // it stays through a chain of roles
	}
	if err := s.policies(&r, in.Policy, in.PolicyArns); err != nil {
		return nil, err
	}
	if len(in.Tags) > 0 {
		r.Tags = map[string]string{}
		for _, t := range in.Tags {
			r.Tags[str(t.Key)] = str(t.Value)
		}
	}
	made, err := s.d.Issue(r)
	if err != nil {
		return nil, err
	}
	return &sdk.AssumeRoleOutput{Credentials: credentials(made), SourceIdentity: optional(r.SourceIdentity),
		AssumedRoleUser: &types.AssumedRoleUser{Arn: new(made.Caller.ARN), AssumedRoleId: new(made.Caller.PrincipalID)}}, nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// policies takes the session policies over.
func (s *api) policies(r *iam.SessionRequest, document *string, arns []types.PolicyDescriptorType) error {
	if str(document) != "" {
		if err := s.d.CheckSessionPolicy(document); err != nil {
			return err
		}
		r.Policies = []string{*document}
	}
	if len(arns) > maxSessionPolicyARNs {
		return invalid("1 validation error detected: Value at 'policyArns' failed to satisfy constraint: Member must have length less than or equal to %d", maxSessionPolicyARNs)
	}
	for _, a := range arns {
		r.PolicyARNs = append(r.PolicyARNs, str(a.Arn))
	}
	return nil
}

func credentials(c iam.SessionCredentials) *types.Credentials {
	return &types.Credentials{AccessKeyId: new(c.AccessKeyID), SecretAccessKey: new(c.SecretAccessKey), SessionToken: new(c.SessionToken), Expiration: new(c.Expiration)}
}

func (s *api) describeAssumeRole(c *call.Call, in *sdk.AssumeRoleInput, _ *sdk.AssumeRoleOutput, _ error, r *record.Record) {
	account := c.AccountID
	if role, ok := s.d.RoleByARN(str(in.RoleArn)); ok {
		account = role.Account
	}
	r.ReadOnly = true // as CloudTrail records it
	r.Resources = append(r.Resources, record.Resource{Type: "AWS::IAM::Role", ARN: str(in.RoleArn), AccountID: account})
}

func (s *api) getSessionToken(_ context.Context, c *call.Call, in *sdk.GetSessionTokenInput) (*sdk.GetSessionTokenOutput, error) {
	if c.Caller.Session != nil {
		return nil, &aws.Error{Op: "sts.GetSessionToken", Kind: aws.Denied, Code: "AccessDenied", Message: "Cannot call GetSessionToken with session credentials"}
	}
	if str(in.SerialNumber) != "" || str(in.TokenCode) != "" {
		return nil, &aws.Error{Op: "sts.GetSessionToken", Kind: aws.Denied, Code: "AccessDenied", Message: "MultiFactorAuthentication failed: the caller has no MFA device."}
	}
	limit, principal := int32(maxUserDuration), c.Caller.PrincipalID
	if c.Caller.Type == aws.Root {
		limit, principal = maxRootDuration, ""
	}
	d, err := duration(in.DurationSeconds, min(defaultUserDuration, limit), limit)
	if err != nil {
		return nil, err
	}
	made, err := s.d.Issue(iam.SessionRequest{Account: c.AccountID, Type: c.Caller.Type, PrincipalID: principal, Duration: d})
	if err != nil {
		return nil, err
	}
	return &sdk.GetSessionTokenOutput{Credentials: credentials(made)}, nil
}

func federatedARN(c *call.Call, name *string) string {
	return aws.NewARN("sts", "", c.AccountID, "federated-user/"+str(name)).String()
}

func (s *api) federationPermissions(c *call.Call, in *sdk.GetFederationTokenInput) ([]call.Permission, error) {
	return []call.Permission{{Action: "sts:GetFederationToken", Resource: federatedARN(c, in.Name)}}, nil
}

func (s *api) getFederationToken(_ context.Context, c *call.Call, in *sdk.GetFederationTokenInput) (*sdk.GetFederationTokenOutput, error) {
	if c.Caller.Session != nil {
		return nil, &aws.Error{Op: "sts.GetFederationToken", Kind: aws.Denied, Code: "AccessDenied", Message: "Cannot call GetFederationToken with session credentials"}
	}
	limit, principal := int32(maxUserDuration), c.Caller.PrincipalID
	if c.Caller.Type == aws.Root {
		limit, principal = maxRootDuration, ""
	}
	d, err := duration(in.DurationSeconds, min(defaultUserDuration, limit), limit)
	if err != nil {
		return nil, err
	}
	r := iam.SessionRequest{Account: c.AccountID, Type: aws.FederatedUser, PrincipalID: principal, Name: str(in.Name), Duration: d}
	if err := s.policies(&r, in.Policy, in.PolicyArns); err != nil {
		return nil, err
	}
	made, err := s.d.Issue(r)
	if err != nil {
		return nil, err
	}
	return &sdk.GetFederationTokenOutput{Credentials: credentials(made),
		FederatedUser: &types.FederatedUser{Arn: new(federatedARN(c, in.Name)), FederatedUserId: new(c.AccountID + ":" + str(in.Name))}}, nil
}

func (s *api) getAccessKeyInfo(_ context.Context, _ *call.Call, in *sdk.GetAccessKeyInfoInput) (*sdk.GetAccessKeyInfoOutput, error) {
	account, ok := iam.AccountOfKey(str(in.AccessKeyId))
	if !ok {
		return nil, invalid("Invalid value for AccessKeyId: %s", str(in.AccessKeyId))
	}
	return &sdk.GetAccessKeyInfoOutput{Account: &account}, nil
}
