package sts

//lint:file-ignore SA1019 PackedPolicySize has a successor, but is what clients know.

import (
	"context"
	"maps"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/iam"
	"spoor/internal/record"
)

// roleARN checks the form of a role's ARN.
func roleARN(arn *string) error {
	p, err := aws.ParseARN(str(arn))
	if err != nil {
		return invalid("%s is invalid", str(arn))
	}
	if p.Partition != aws.Partition || p.Service != "iam" || p.Region != "" || !strings.HasPrefix(p.Resource, "role/") {
		return invalid("Request ARN is invalid")
	}
	return nil
}

// sourceIdentity is the source identity of a new session: one that is set
// stays through a chain of roles and cannot become another (IAM user guide,
// "Monitor and control actions taken with assumed roles").
func sourceIdentity(c *call.Call, in *sdk.AssumeRoleInput) (string, error) {
	given, have := str(in.SourceIdentity), ""
	if c.Caller.Session != nil {
		have = c.Caller.Session.SourceIdentity
	}
	if given != "" && have != "" && given != have {
		return "", notAuthorized(c, "sts:SetSourceIdentity", str(in.RoleArn))
	}
	if given == "" {
		return have, nil
	}
	return given, nil
}

// rolePermissions are what a new session of a role needs: the action itself,
// the right to tag it and to set its source identity where it has any, each in
// the role's trust policy and, across accounts, in the caller's policies too.
func rolePermissions(action string, role iam.Role, t *tagSet, keys map[string][]string, source string) []call.Permission {
	maps.Copy(keys, t.context())
	if source != "" {
		keys["sts:sourceidentity"] = []string{source}
	}
	for k, v := range role.Tags {
		keys["aws:resourcetag/"+strings.ToLower(k)] = []string{v}
		keys["iam:resourcetag/"+strings.ToLower(k)] = []string{v}
	}
	p := call.Permission{Action: action, Resource: role.ARN, Context: keys, ResourcePolicy: role.Trust, ResourceAccount: role.Account}
	perms := []call.Permission{p}
	if len(t.tags) > 0 {
		p.Action = "sts:TagSession"
		perms = append(perms, p)
	}
	if source != "" {
		p.Action = "sts:SetSourceIdentity"
		perms = append(perms, p)
	}
	return perms
}

// assumeRolePermissions: the role's trust policy is the resource's policy, and
// across accounts the caller's own must allow as well.
func (s *api) assumeRolePermissions(c *call.Call, in *sdk.AssumeRoleInput) ([]call.Permission, error) {
	if err := roleARN(in.RoleArn); err != nil {
		return nil, err
	}
	if c.Caller.Type == aws.Root {
		return nil, denied("Roles may not be assumed by root accounts.")
	}
	if err := notFromUserSession(c, "sts:AssumeRole"); err != nil {
		return nil, err
	}
	role, ok := s.d.RoleByARN(str(in.RoleArn))
	if !ok {
		// A role that does not exist and one that is not granted look the same.
		return nil, notAuthorized(c, "sts:AssumeRole", str(in.RoleArn))
	}
	t, err := newTags(in.Tags, in.TransitiveTagKeys, c.Caller)
	if err != nil {
		return nil, err
	}
	source, err := sourceIdentity(c, in)
	if err != nil {
		return nil, err
	}
	keys := map[string][]string{"sts:rolesessionname": {str(in.RoleSessionName)}}
	if in.ExternalId != nil {
		keys["sts:externalid"] = []string{*in.ExternalId}
	}
	return rolePermissions("sts:AssumeRole", role, &t, keys, source), nil
}

// roleDuration is how long a role's session lasts. The model has checked the
// least and the most that any role may have.
func roleDuration(given *int32, role iam.Role, chained bool) (time.Duration, error) {
	d := int32(defaultRoleDuration)
	if given != nil {
		d = *given
	}
	switch {
	case d < minDuration:
		return 0, invalid("1 validation error detected: Value '%d' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to %d", d, minDuration)
	case chained && d > maxChainedDuration:
		return 0, invalid("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	case d > role.MaxSession:
		return 0, invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	return time.Duration(d) * time.Second, nil
}

func (s *api) assumeRole(_ context.Context, c *call.Call, in *sdk.AssumeRoleInput) (*sdk.AssumeRoleOutput, error) {
	role, ok := s.d.RoleByARN(str(in.RoleArn))
	if !ok { // gone since the permissions were checked
		return nil, notAuthorized(c, "sts:AssumeRole", str(in.RoleArn))
	}
	if err := noDevice(in.SerialNumber, in.TokenCode); err != nil {
		return nil, err
	}
	if len(in.ProvidedContexts) > 0 {
		return nil, invalidParameter("This server has no provider of contexts.")
	}
	t, err := newTags(in.Tags, in.TransitiveTagKeys, c.Caller)
	if err != nil {
		return nil, err
	}
	source, err := sourceIdentity(c, in)
	if err != nil {
		return nil, err
	}
	d, err := roleDuration(in.DurationSeconds, role, c.Caller.Type == aws.AssumedRole)
	if err != nil {
		return nil, err
	}
	r := iam.SessionRequest{Account: role.Account, Type: aws.AssumedRole, PrincipalID: role.ID, Name: str(in.RoleSessionName), Duration: d,
		SourceIdentity: source, Tags: t.tags, TransitiveTagKeys: t.transitive}
	size, err := s.narrow(&r, in.Policy, in.PolicyArns)
	if err != nil {
		return nil, err
	}
	made, err := s.d.Issue(r)
	if err != nil {
		return nil, err
	}
	return &sdk.AssumeRoleOutput{Credentials: credentials(made), SourceIdentity: optional(source), PackedPolicySize: size, AssumedRoleUser: assumed(made)}, nil
}

func assumed(made iam.SessionCredentials) *types.AssumedRoleUser {
	return &types.AssumedRoleUser{Arn: new(made.Caller.ARN), AssumedRoleId: new(made.Caller.PrincipalID)}
}

func (s *api) describeAssumeRole(c *call.Call, in *sdk.AssumeRoleInput, _ *sdk.AssumeRoleOutput, _ error, r *record.Record) {
	s.describeRole(c, in.RoleArn, r)
}

// describeRole adds the role to a record, which CloudTrail calls read-only.
func (s *api) describeRole(c *call.Call, arn *string, r *record.Record) {
	r.ReadOnly = true
	account := c.AccountID
	if role, ok := s.d.RoleByARN(str(arn)); ok {
		account = role.Account
	}
	r.Resources = append(r.Resources, record.Resource{Type: "AWS::IAM::Role", ARN: str(arn), AccountID: account})
}
