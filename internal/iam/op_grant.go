package iam

import (
	"net/http"
	"slices"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/policy"
)

// grantOperations give policies to users and roles.
func (s *api) grantOperations() []call.Operation {
	return []call.Operation{
		op("PutUserPolicy", func(c *call.Call, in *sdk.PutUserPolicyInput) target { return s.onUser(c, in.UserName) }, s.putUserPolicy),
		op("GetUserPolicy", func(c *call.Call, in *sdk.GetUserPolicyInput) target { return s.onUser(c, in.UserName) }, s.getUserPolicy, call.ReadOnly),
		op("DeleteUserPolicy", func(c *call.Call, in *sdk.DeleteUserPolicyInput) target { return s.onUser(c, in.UserName) }, s.deleteUserPolicy),
		op("ListUserPolicies", func(c *call.Call, in *sdk.ListUserPoliciesInput) target { return s.onUser(c, in.UserName) }, s.listUserPolicies, call.ReadOnly),
		op("AttachUserPolicy", func(c *call.Call, in *sdk.AttachUserPolicyInput) target {
			return s.onUser(c, in.UserName).policy(in.PolicyArn)
		}, s.attachUserPolicy),
		op("DetachUserPolicy", func(c *call.Call, in *sdk.DetachUserPolicyInput) target {
			return s.onUser(c, in.UserName).policy(in.PolicyArn)
		}, s.detachUserPolicy),
		op("ListAttachedUserPolicies", func(c *call.Call, in *sdk.ListAttachedUserPoliciesInput) target { return s.onUser(c, in.UserName) }, s.listAttachedUser, call.ReadOnly),
		op("PutRolePolicy", func(c *call.Call, in *sdk.PutRolePolicyInput) target { return s.onRole(c, in.RoleName) }, s.putRolePolicy),
		op("GetRolePolicy", func(c *call.Call, in *sdk.GetRolePolicyInput) target { return s.onRole(c, in.RoleName) }, s.getRolePolicy, call.ReadOnly),
		op("DeleteRolePolicy", func(c *call.Call, in *sdk.DeleteRolePolicyInput) target { return s.onRole(c, in.RoleName) }, s.deleteRolePolicy),
		op("ListRolePolicies", func(c *call.Call, in *sdk.ListRolePoliciesInput) target { return s.onRole(c, in.RoleName) }, s.listRolePolicies, call.ReadOnly),
		op("AttachRolePolicy", func(c *call.Call, in *sdk.AttachRolePolicyInput) target {
			return s.onRole(c, in.RoleName).policy(in.PolicyArn)
		}, s.attachRolePolicy),
		op("DetachRolePolicy", func(c *call.Call, in *sdk.DetachRolePolicyInput) target {
			return s.onRole(c, in.RoleName).policy(in.PolicyArn)
		}, s.detachRolePolicy),
		op("ListAttachedRolePolicies", func(c *call.Call, in *sdk.ListAttachedRolePoliciesInput) target { return s.onRole(c, in.RoleName) }, s.listAttachedRole, call.ReadOnly),
	}
}

// putInline adds or replaces an inline policy; limit is the size of all of
// the holder's, which who names ("user alice").
func (s *api) putInline(g *grants, name, document *string, limit int, who string) error {
	if err := s.checkDocument(document, policy.Identity, maxDocumentSize); err != nil {
		return err
	}
	if g.Inline == nil {
		g.Inline = map[string]string{}
	}
	g.Inline[str(name)] = str(document)
	size := 0
	for _, d := range g.Inline {
		size += significant(d)
	}
	if size > limit {
		return fail(aws.LimitExceeded, http.StatusConflict, "LimitExceeded", "Maximum policy size of %d bytes exceeded for %s", limit, who)
	}
	return g.compile()
}

func dropInline(g *grants, holder, name string) error {
	if _, ok := g.Inline[name]; !ok {
		return noSuchEntity("The %s policy with name %s cannot be found.", holder, name)
	}
	delete(g.Inline, name)
	return g.compile()
}

// attach attaches a managed policy; once more is no error.
func (s *api) attach(ch *change, g *grants, arn *string, quotaName string) error {
	if _, err := aws.ParseARN(str(arn)); err != nil {
		return invalidARN(str(arn))
	}
	if s.d.policy(ch.acc, *arn) == nil {
		return notAttachable(*arn)
	}
	if slices.Contains(g.Attached, *arn) {
		return nil
	}
	if err := quota(len(g.Attached), maxAttached, quotaName); err != nil {
		return err
	}
	g.Attached = append(g.Attached, *arn)
	return nil
}

func detach(g *grants, arn *string) error {
	if _, err := aws.ParseARN(str(arn)); err != nil {
		return invalidARN(str(arn))
	}
	i := slices.Index(g.Attached, *arn)
	if i < 0 {
		return noPolicy(*arn)
	}
	g.Attached = slices.Delete(g.Attached, i, i+1)
	return nil
}

// attached is a page of the managed policies below a path that a holder has.
func (s *api) attached(a *account, g *grants, prefix, marker *string, size *int32) ([]types.AttachedPolicy, *string, error) {
	part, next, err := page(s.attachments(a, g, prefix), marker, size, func(p types.AttachedPolicy) string { return *p.PolicyArn })
	return convert(part, func(p types.AttachedPolicy) types.AttachedPolicy { return p }), next, err
}

// attachments are the managed policies of a holder below a path, by ARN.
func (s *api) attachments(a *account, g *grants, prefix *string) []types.AttachedPolicy {
	out := make([]types.AttachedPolicy, 0, len(g.Attached))
	for _, arn := range slices.Sorted(slices.Values(g.Attached)) {
		// An attached policy cannot be deleted, so it is there.
		if p := s.d.policy(a, arn); p != nil && strings.HasPrefix(p.Path, str(prefix)) {
			out = append(out, types.AttachedPolicy{PolicyArn: new(arn), PolicyName: new(p.Name)})
		}
	}
	return out
}

// inlineNames is a page of the names of a holder's inline policies.
func inlineNames(g *grants, marker *string, size *int32) ([]string, *string, error) {
	part, next, err := page(sortedKeys(g.Inline), marker, size, func(n string) string { return n })
	return convert(part, func(n string) string { return n }), next, err
}

func (s *api) putUserPolicy(c *call.Call, in *sdk.PutUserPolicyInput) (*sdk.PutUserPolicyOutput, error) {
	err := s.changeUser(c, in.UserName, func(_ *change, u *user) error {
		return s.putInline(&u.grants, in.PolicyName, in.PolicyDocument, maxInlineUser, "user "+u.Name)
	})
	return &sdk.PutUserPolicyOutput{}, err
}

// user finds a user of the call's account for reading.
func (s *api) user(c *call.Call, name *string) (*account, *user, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, nil, err
	}
	u, err := findUser(a, c, name)
	return a, u, err
}

func (s *api) getUserPolicy(c *call.Call, in *sdk.GetUserPolicyInput) (*sdk.GetUserPolicyOutput, error) {
	_, u, err := s.user(c, in.UserName)
	if err != nil {
		return nil, err
	}
	d, ok := u.Inline[str(in.PolicyName)]
	if !ok {
		return nil, noSuchEntity("The user policy with name %s cannot be found.", str(in.PolicyName))
	}
	return &sdk.GetUserPolicyOutput{UserName: new(u.Name), PolicyName: in.PolicyName, PolicyDocument: encoded(d)}, nil
}

func (s *api) deleteUserPolicy(c *call.Call, in *sdk.DeleteUserPolicyInput) (*sdk.DeleteUserPolicyOutput, error) {
	err := s.changeUser(c, in.UserName, func(_ *change, u *user) error { return dropInline(&u.grants, "user", str(in.PolicyName)) })
	return &sdk.DeleteUserPolicyOutput{}, err
}

func (s *api) listUserPolicies(c *call.Call, in *sdk.ListUserPoliciesInput) (*sdk.ListUserPoliciesOutput, error) {
	_, u, err := s.user(c, in.UserName)
	if err != nil {
		return nil, err
	}
	names, next, err := inlineNames(&u.grants, in.Marker, in.MaxItems)
	return &sdk.ListUserPoliciesOutput{PolicyNames: names, IsTruncated: next != nil, Marker: next}, err
}

func (s *api) attachUserPolicy(c *call.Call, in *sdk.AttachUserPolicyInput) (*sdk.AttachUserPolicyOutput, error) {
	err := s.changeUser(c, in.UserName, func(ch *change, u *user) error { return s.attach(ch, &u.grants, in.PolicyArn, "PoliciesPerUser") })
	return &sdk.AttachUserPolicyOutput{}, err
}

func (s *api) detachUserPolicy(c *call.Call, in *sdk.DetachUserPolicyInput) (*sdk.DetachUserPolicyOutput, error) {
	err := s.changeUser(c, in.UserName, func(_ *change, u *user) error { return detach(&u.grants, in.PolicyArn) })
	return &sdk.DetachUserPolicyOutput{}, err
}

func (s *api) listAttachedUser(c *call.Call, in *sdk.ListAttachedUserPoliciesInput) (*sdk.ListAttachedUserPoliciesOutput, error) {
	a, u, err := s.user(c, in.UserName)
	if err != nil {
		return nil, err
	}
	list, next, err := s.attached(a, &u.grants, in.PathPrefix, in.Marker, in.MaxItems)
	return &sdk.ListAttachedUserPoliciesOutput{AttachedPolicies: list, IsTruncated: next != nil, Marker: next}, err
}

func (s *api) putRolePolicy(c *call.Call, in *sdk.PutRolePolicyInput) (*sdk.PutRolePolicyOutput, error) {
	err := s.changeRole(c, in.RoleName, func(_ *change, r *role) error {
		return s.putInline(&r.grants, in.PolicyName, in.PolicyDocument, maxInlineRole, "role "+r.Name)
	})
	return &sdk.PutRolePolicyOutput{}, err
}

func (s *api) getRolePolicy(c *call.Call, in *sdk.GetRolePolicyInput) (*sdk.GetRolePolicyOutput, error) {
	_, r, err := s.role(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	d, ok := r.Inline[str(in.PolicyName)]
	if !ok {
		return nil, noSuchEntity("The role policy with name %s cannot be found.", str(in.PolicyName))
	}
	return &sdk.GetRolePolicyOutput{RoleName: new(r.Name), PolicyName: in.PolicyName, PolicyDocument: encoded(d)}, nil
}

func (s *api) deleteRolePolicy(c *call.Call, in *sdk.DeleteRolePolicyInput) (*sdk.DeleteRolePolicyOutput, error) {
	err := s.changeRole(c, in.RoleName, func(_ *change, r *role) error { return dropInline(&r.grants, "role", str(in.PolicyName)) })
	return &sdk.DeleteRolePolicyOutput{}, err
}

func (s *api) listRolePolicies(c *call.Call, in *sdk.ListRolePoliciesInput) (*sdk.ListRolePoliciesOutput, error) {
	_, r, err := s.role(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	names, next, err := inlineNames(&r.grants, in.Marker, in.MaxItems)
	return &sdk.ListRolePoliciesOutput{PolicyNames: names, IsTruncated: next != nil, Marker: next}, err
}

func (s *api) attachRolePolicy(c *call.Call, in *sdk.AttachRolePolicyInput) (*sdk.AttachRolePolicyOutput, error) {
	err := s.changeRole(c, in.RoleName, func(ch *change, r *role) error { return s.attach(ch, &r.grants, in.PolicyArn, "PoliciesPerRole") })
	return &sdk.AttachRolePolicyOutput{}, err
}

func (s *api) detachRolePolicy(c *call.Call, in *sdk.DetachRolePolicyInput) (*sdk.DetachRolePolicyOutput, error) {
	err := s.changeRole(c, in.RoleName, func(_ *change, r *role) error { return detach(&r.grants, in.PolicyArn) })
	return &sdk.DetachRolePolicyOutput{}, err
}

func (s *api) listAttachedRole(c *call.Call, in *sdk.ListAttachedRolePoliciesInput) (*sdk.ListAttachedRolePoliciesOutput, error) {
	a, r, err := s.role(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	list, next, err := s.attached(a, &r.grants, in.PathPrefix, in.Marker, in.MaxItems)
	return &sdk.ListAttachedRolePoliciesOutput{AttachedPolicies: list, IsTruncated: next != nil, Marker: next}, err
}
