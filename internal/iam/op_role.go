package iam

import (
	"net/url"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/policy"
)

func (s *api) roleOperations() []call.Operation {
	return []call.Operation{
		op("CreateRole", func(c *call.Call, in *sdk.CreateRoleInput) target {
			return onPath(c, "role", in.Path, str(in.RoleName)).requestTags(in.Tags).boundary(in.PermissionsBoundary)
		}, s.createRole),
		op("GetRole", func(c *call.Call, in *sdk.GetRoleInput) target { return s.onRole(c, in.RoleName) }, s.getRole, call.ReadOnly),
		op("ListRoles", func(c *call.Call, in *sdk.ListRolesInput) target { return onPath(c, "role", in.PathPrefix, "") }, s.listRoles, call.ReadOnly),
		op("UpdateRole", func(c *call.Call, in *sdk.UpdateRoleInput) target { return s.onRole(c, in.RoleName) }, s.updateRole, call.EmptyResult),
		op("UpdateRoleDescription", func(c *call.Call, in *sdk.UpdateRoleDescriptionInput) target { return s.onRole(c, in.RoleName) }, s.updateRoleDescription),
		op("UpdateAssumeRolePolicy", func(c *call.Call, in *sdk.UpdateAssumeRolePolicyInput) target { return s.onRole(c, in.RoleName) }, s.updateTrust),
		op("DeleteRole", func(c *call.Call, in *sdk.DeleteRoleInput) target { return s.onRole(c, in.RoleName) }, s.deleteRole),
		op("TagRole", func(c *call.Call, in *sdk.TagRoleInput) target { return s.onRole(c, in.RoleName).requestTags(in.Tags) }, s.tagRole),
		op("UntagRole", func(c *call.Call, in *sdk.UntagRoleInput) target {
			return s.onRole(c, in.RoleName).with("aws:TagKeys", in.TagKeys...)
		}, s.untagRole),
		op("ListRoleTags", func(c *call.Call, in *sdk.ListRoleTagsInput) target { return s.onRole(c, in.RoleName) }, s.listRoleTags, call.ReadOnly),
		op("PutRolePermissionsBoundary", func(c *call.Call, in *sdk.PutRolePermissionsBoundaryInput) target {
			return s.onRole(c, in.RoleName).boundary(in.PermissionsBoundary)
		}, s.putRoleBoundary),
		op("DeleteRolePermissionsBoundary", func(c *call.Call, in *sdk.DeleteRolePermissionsBoundaryInput) target { return s.onRole(c, in.RoleName) }, s.deleteRoleBoundary),
	}
}

// encoded is a document as IAM's answers carry it: percent-encoded as RFC 3986
// has it, so that a space is %20 and not the + of forms.
func encoded(document string) *string {
	return new(strings.ReplaceAll(url.QueryEscape(document), "+", "%20"))
}

func (a *account) listedRole(r *role) types.Role {
	return types.Role{Arn: new(a.roleARN(r)), AssumeRolePolicyDocument: encoded(r.Trust), CreateDate: new(r.Created), Description: optional(r.Description),
		MaxSessionDuration: new(r.MaxSession), Path: new(r.Path), RoleId: new(r.ID), RoleName: new(r.Name)}
}

func (a *account) sdkRole(r *role) *types.Role {
	out := a.listedRole(r)
	out.Tags, out.PermissionsBoundary = tagsOf(r.Tags), boundaryOf(r.Boundary)
	return &out
}

func maxSession(d *int32) (int32, error) {
	if d == nil {
		return defaultMaxSession, nil
	}
	if *d < minMaxSession || *d > maxMaxSession {
		return 0, validationError("1 validation error detected: Value '%d' at 'maxSessionDuration' failed to satisfy constraint: Member must have value between %d and %d", *d, minMaxSession, maxMaxSession)
	}
	return *d, nil
}

func (s *api) createRole(c *call.Call, in *sdk.CreateRoleInput) (*sdk.CreateRoleOutput, error) {
	ch, err := s.d.begin(c)
	if err != nil {
		return nil, err
	}
	name := str(in.RoleName)
	if ch.acc.roles[fold(name)] != nil {
		return nil, alreadyExists("Role with name %s already exists.", name)
	}
	if err := quota(len(ch.acc.roles), maxRoles, "RolesPerAccount"); err != nil {
		return nil, err
	}
	if err := s.checkTrust(in.AssumeRolePolicyDocument); err != nil {
		return nil, err
	}
	r := &role{ID: newID(prefixRole), Name: name, Path: pathOr(in.Path), Created: s.d.wholeSecond(), Description: str(in.Description), Trust: str(in.AssumeRolePolicyDocument)}
	if r.MaxSession, err = maxSession(in.MaxSessionDuration); err != nil {
		return nil, err
	}
	if r.Tags, err = setTags(nil, in.Tags); err != nil {
		return nil, err
	}
	if r.Boundary, err = s.boundary(ch.acc, in.PermissionsBoundary); err != nil {
		return nil, err
	}
	if err := ch.setRole(nil, r); err != nil {
		return nil, err
	}
	return &sdk.CreateRoleOutput{Role: ch.acc.sdkRole(r)}, nil
}

// checkTrust checks a role's trust policy.
func (s *api) checkTrust(document *string) error {
	if significant(str(document)) > maxTrustSize {
		return limitExceeded("ACLSizePerRole", maxTrustSize)
	}
	return s.checkDocument(document, policy.Trust, maxTrustSize)
}

// role finds a role of the call's account for reading.
func (s *api) role(c *call.Call, name *string) (*account, *role, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, nil, err
	}
	r, err := findRole(a, name)
	return a, r, err
}

func (s *api) getRole(c *call.Call, in *sdk.GetRoleInput) (*sdk.GetRoleOutput, error) {
	a, r, err := s.role(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	out := a.sdkRole(r)
	out.RoleLastUsed = s.roleLastUsed(r)
	return &sdk.GetRoleOutput{Role: out}, nil
}

// roleLastUsed is empty, not absent, for a role that was never used.
func (s *api) roleLastUsed(r *role) *types.RoleLastUsed {
	out := &types.RoleLastUsed{}
	if l := s.d.lastUse(r.ID); l != nil {
		out.LastUsedDate, out.Region = new(l.At), new(l.Region)
	}
	return out
}

func (s *api) listRoles(c *call.Call, in *sdk.ListRolesInput) (*sdk.ListRolesOutput, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, err
	}
	all := byName(a.roles, in.PathPrefix, func(r *role) string { return r.Path })
	part, next, err := page(all, in.Marker, in.MaxItems, func(r *role) string { return fold(r.Name) })
	if err != nil {
		return nil, err
	}
	return &sdk.ListRolesOutput{Roles: convert(part, a.listedRole), IsTruncated: next != nil, Marker: next}, nil
}

// changeRole runs fn on a copy of a role and keeps it.
func (s *api) changeRole(c *call.Call, name *string, fn func(ch *change, r *role) error) error {
	ch, err := s.d.begin(c)
	if err != nil {
		return err
	}
	old, err := findRole(ch.acc, name)
	if err != nil {
		return err
	}
	r := old.copy()
	if err := fn(ch, r); err != nil {
		return err
	}
	return ch.setRole(old, r)
}

func (s *api) updateRole(c *call.Call, in *sdk.UpdateRoleInput) (*sdk.UpdateRoleOutput, error) {
	err := s.changeRole(c, in.RoleName, func(_ *change, r *role) (err error) {
		if in.Description != nil {
			r.Description = *in.Description
		}
		if in.MaxSessionDuration != nil {
			r.MaxSession, err = maxSession(in.MaxSessionDuration)
		}
		return err
	})
	return &sdk.UpdateRoleOutput{}, err
}

func (s *api) updateRoleDescription(c *call.Call, in *sdk.UpdateRoleDescriptionInput) (*sdk.UpdateRoleDescriptionOutput, error) {
	out := &sdk.UpdateRoleDescriptionOutput{}
	err := s.changeRole(c, in.RoleName, func(ch *change, r *role) error {
		r.Description = str(in.Description)
		out.Role = ch.acc.sdkRole(r)
		return nil
	})
	return out, err
}

func (s *api) updateTrust(c *call.Call, in *sdk.UpdateAssumeRolePolicyInput) (*sdk.UpdateAssumeRolePolicyOutput, error) {
	err := s.changeRole(c, in.RoleName, func(_ *change, r *role) error {
		r.Trust = str(in.PolicyDocument)
		return s.checkTrust(in.PolicyDocument)
	})
	return &sdk.UpdateAssumeRolePolicyOutput{}, err
}

func (s *api) deleteRole(c *call.Call, in *sdk.DeleteRoleInput) (*sdk.DeleteRoleOutput, error) {
	ch, err := s.d.begin(c)
	if err != nil {
		return nil, err
	}
	r, err := findRole(ch.acc, in.RoleName)
	if err != nil {
		return nil, err
	}
	switch {
	case len(r.Inline) > 0:
		return nil, deleteConflict("Cannot delete entity, must delete policies first.")
	case len(r.Attached) > 0:
		return nil, deleteConflict("Cannot delete entity, must detach all policies first.")
	case ch.acc.profileOf(r) != nil:
		return nil, deleteConflict("Cannot delete entity, must remove roles from instance profile first.")
	}
	return &sdk.DeleteRoleOutput{}, ch.setRole(r, nil)
}

func (s *api) tagRole(c *call.Call, in *sdk.TagRoleInput) (*sdk.TagRoleOutput, error) {
	err := s.changeRole(c, in.RoleName, func(_ *change, r *role) (err error) {
		r.Tags, err = setTags(r.Tags, in.Tags)
		return err
	})
	return &sdk.TagRoleOutput{}, err
}

func (s *api) untagRole(c *call.Call, in *sdk.UntagRoleInput) (*sdk.UntagRoleOutput, error) {
	err := s.changeRole(c, in.RoleName, func(_ *change, r *role) error {
		r.Tags = dropTags(r.Tags, in.TagKeys)
		return nil
	})
	return &sdk.UntagRoleOutput{}, err
}

func (s *api) listRoleTags(c *call.Call, in *sdk.ListRoleTagsInput) (*sdk.ListRoleTagsOutput, error) {
	_, r, err := s.role(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	part, next, err := pageTags(r.Tags, in.Marker, in.MaxItems)
	return &sdk.ListRoleTagsOutput{Tags: tagList(part), IsTruncated: next != nil, Marker: next}, err
}

func (s *api) putRoleBoundary(c *call.Call, in *sdk.PutRolePermissionsBoundaryInput) (*sdk.PutRolePermissionsBoundaryOutput, error) {
	err := s.changeRole(c, in.RoleName, func(ch *change, r *role) (err error) {
		r.Boundary, err = s.boundary(ch.acc, in.PermissionsBoundary)
		return err
	})
	return &sdk.PutRolePermissionsBoundaryOutput{}, err
}

func (s *api) deleteRoleBoundary(c *call.Call, in *sdk.DeleteRolePermissionsBoundaryInput) (*sdk.DeleteRolePermissionsBoundaryOutput, error) {
	err := s.changeRole(c, in.RoleName, func(_ *change, r *role) error {
		if r.Boundary == "" {
			return noSuchEntity("Scope policy for role %s cannot be found.", r.Name)
		}
		r.Boundary = ""
		return nil
	})
	return &sdk.DeleteRolePermissionsBoundaryOutput{}, err
}

// Role is what STS needs of a role.
type Role struct {
	ID, ARN, Account, Name string
	Trust                  string
	MaxSession             int32 // seconds
	Tags                   map[string]string
}

// RoleByARN finds a role of any account.
func (d *Directory) RoleByARN(arn string) (Role, bool) {
	p, err := aws.ParseARN(arn)
	if err != nil || p.Service != "iam" {
		return Role{}, false
	}
	a := d.account(p.Account)
	if a == nil {
		return Role{}, false
	}
	r := a.roles[fold(p.Resource[strings.LastIndexByte(p.Resource, '/')+1:])]
	if r == nil || a.roleARN(r) != arn {
		return Role{}, false
	}
	return Role{ID: r.ID, ARN: arn, Account: p.Account, Name: r.Name, Trust: r.Trust, MaxSession: r.MaxSession, Tags: r.tagMap}, true
}

// CheckSessionPolicy parses a session policy that a caller gave.
func (d *Directory) CheckSessionPolicy(text *string) error {
	return (&api{d}).checkDocument(text, policy.Identity, maxTrustSize)
}

// HasPolicy reports whether an account may use the managed policy.
func (d *Directory) HasPolicy(account, arn string) bool {
	a := d.account(account)
	return a != nil && d.policy(a, arn) != nil
}
