package iam

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/google/go-cmp/cmp"
)

const (
	teamPolicy = "arn:aws:iam::111122223333:policy/team/Team"
	readOnly   = "arn:aws:iam::aws:policy/ReadOnlyAccess"
	listUsers  = `{"Effect":"Allow","Action":"iam:ListUsers","Resource":"*"}`
	listGroups = `{"Effect":"Allow","Action":"iam:ListGroups","Resource":"*"}`
)

func (w *world) createPolicy(name, path, statements string) *types.Policy {
	w.t.Helper()
	out, err := w.admin.CreatePolicy(w.ctx, &sdk.CreatePolicyInput{PolicyName: &name, Path: &path, PolicyDocument: document(statements),
		Description: new("of " + name), Tags: tagsFrom("team", "a")})
	w.must(err)
	return out.Policy
}

// TestManagedPolicyLife is a managed policy from creation to deletion, with
// its versions and every conflict on the way.
func TestManagedPolicyLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	p := w.createPolicy("Team", "/team/", listUsers)
	if *p.Arn != teamPolicy || !strings.HasPrefix(*p.PolicyId, "ANPA") || *p.DefaultVersionId != "v1" || *p.AttachmentCount != 0 || !p.IsAttachable ||
		*p.PermissionsBoundaryUsageCount != 0 || p.Description != nil || len(p.Tags) != 1 {
		t.Errorf("created %+v", p)
	}
	alice := w.user("alice", "")
	arn := new(teamPolicy)
	version := func(v string) func() error {
		return func() error {
			return drop(c.DeletePolicyVersion(ctx, &sdk.DeletePolicyVersionInput{PolicyArn: arn, VersionId: &v}))
		}
	}
	newVersion := func(statements string, isDefault bool) func() error {
		return func() error {
			return drop(c.CreatePolicyVersion(ctx, &sdk.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: document(statements), SetAsDefault: isDefault}))
		}
	}
	attach := func(arn string) func() error {
		return func() error {
			return drop(c.AttachUserPolicy(ctx, &sdk.AttachUserPolicyInput{UserName: new("alice"), PolicyArn: &arn}))
		}
	}
	remove := func(arn string) func() error {
		return func() error { return drop(c.DeletePolicy(ctx, &sdk.DeletePolicyInput{PolicyArn: &arn})) }
	}
	users := func() error { return drop(alice.ListUsers(ctx, &sdk.ListUsersInput{})) }
	groups := func() error { return drop(alice.ListGroups(ctx, &sdk.ListGroupsInput{})) }
	w.try([]attempt{
		{"same name at another path", func() error {
			return drop(c.CreatePolicy(ctx, &sdk.CreatePolicyInput{PolicyName: new("team"), PolicyDocument: document(listUsers)}))
		}, "EntityAlreadyExists: A policy called team already exists. Duplicate names are not allowed."},
		{"malformed", func() error {
			return drop(c.CreatePolicy(ctx, &sdk.CreatePolicyInput{PolicyName: new("x"), PolicyDocument: new(`{"Statement":[]`)}))
		}, "MalformedPolicyDocument: "},
		{"too large", func() error {
			return drop(c.CreatePolicy(ctx, &sdk.CreatePolicyInput{PolicyName: new("x"),
				PolicyDocument: document(`{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::` + strings.Repeat("x", 6144) + `"}`)}))
		}, "LimitExceeded: Cannot exceed quota for PolicySize: 6144"},
		{"white space does not count", func() error {
			return drop(c.CreatePolicy(ctx, &sdk.CreatePolicyInput{PolicyName: new("x"), PolicyDocument: document(listUsers + strings.Repeat(" \n", 6000))}))
		}, ""},
		{"unknown", func() error {
			return drop(c.GetPolicy(ctx, &sdk.GetPolicyInput{PolicyArn: new("arn:aws:iam::111122223333:policy/None")}))
		}, "NoSuchEntity: Policy arn:aws:iam::111122223333:policy/None was not found."},
		{"no ARN", func() error {
			return drop(c.GetPolicy(ctx, &sdk.GetPolicyInput{PolicyArn: new("something-that-is-no-arn")}))
		}, "InvalidInput: ARN something-that-is-no-arn is not valid."},
		{"denied", users, "AccessDenied: "},
		{"attach", attach(teamPolicy), ""},
		{"allowed", users, ""},
		{"version 2, not default", newVersion(listGroups, false), ""},
		{"still version 1", users, ""},
		{"not yet version 2", groups, "AccessDenied: "},
		{"version 2 becomes default", func() error {
			return drop(c.SetDefaultPolicyVersion(ctx, &sdk.SetDefaultPolicyVersionInput{PolicyArn: arn, VersionId: new("v2")}))
		}, ""},
		{"version 2 holds", groups, ""},
		{"version 1 does not", users, "AccessDenied: "},
		{"version 3, default", newVersion(listUsers+","+listGroups, true), ""},
		{"version 3 holds", users, ""},
		{"version 4", newVersion(listUsers, false), ""},
		{"version 5", newVersion(listUsers, false), ""},
		{"one too many", newVersion(listUsers, false),
			"LimitExceeded: A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version."},
		{"delete default", version("v3"), "DeleteConflict: Cannot delete the default version of a policy."},
		{"delete unknown version", version("v9"), "NoSuchEntity: Policy " + teamPolicy + " version v9 does not exist or is not attachable."},
		{"get unknown version", func() error {
			return drop(c.GetPolicyVersion(ctx, &sdk.GetPolicyVersionInput{PolicyArn: arn, VersionId: new("v9")}))
		}, "NoSuchEntity: Policy " + teamPolicy + " version v9 does not exist or is not attachable."},
		{"default unknown version", func() error {
			return drop(c.SetDefaultPolicyVersion(ctx, &sdk.SetDefaultPolicyVersionInput{PolicyArn: arn, VersionId: new("v9")}))
		}, "NoSuchEntity: "},
		{"bad version", version("3"), "ValidationError: 1 validation error detected: "},
		{"delete version 4", version("v4"), ""},
		{"a number is not used again", newVersion(listUsers, false), ""},
		{"delete attached", remove(teamPolicy), "DeleteConflict: Cannot delete a policy attached to entities."},
		{"detach", func() error {
			return drop(c.DetachUserPolicy(ctx, &sdk.DetachUserPolicyInput{UserName: new("alice"), PolicyArn: arn}))
		}, ""},
		{"denied again", users, "AccessDenied: "},
		{"delete with versions", remove(teamPolicy), "DeleteConflict: This policy has more than one version."},
	})
	vs, err := c.ListPolicyVersions(ctx, &sdk.ListPolicyVersionsInput{PolicyArn: arn})
	w.must(err)
	var ids []string
	for _, v := range vs.Versions {
		ids = append(ids, fmt.Sprintf("%s %v %v", *v.VersionId, v.IsDefaultVersion, v.Document == nil))
	}
	if d := cmp.Diff([]string{"v6 false true", "v5 false true", "v3 true true", "v2 false true", "v1 false true"}, ids); d != "" {
		t.Error(d)
	}
	w.restart()
	w.try([]attempt{
		{"1", version("v1"), ""}, {"2", version("v2"), ""}, {"5", version("v5"), ""}, {"6", version("v6"), ""},
		{"boundary", func() error {
			return drop(c.PutUserPermissionsBoundary(ctx, &sdk.PutUserPermissionsBoundaryInput{UserName: new("alice"), PermissionsBoundary: arn}))
		}, ""},
		{"delete a boundary", remove(teamPolicy), "DeleteConflict: Cannot delete a policy attached to entities."},
		{"no boundary", func() error {
			return drop(c.DeleteUserPermissionsBoundary(ctx, &sdk.DeleteUserPermissionsBoundaryInput{UserName: new("alice")}))
		}, ""},
		{"delete", remove(teamPolicy), ""},
		{"delete again", remove(teamPolicy), "NoSuchEntity: Policy " + teamPolicy + " was not found."},
		{"AWS's", remove(readOnly), "AccessDenied: Policy is outside your own account."},
		{"another account's", remove("arn:aws:iam::999999999999:policy/x"), "AccessDenied: Policy is outside your own account."},
		{"tag AWS's", func() error {
			return drop(c.TagPolicy(ctx, &sdk.TagPolicyInput{PolicyArn: new(readOnly), Tags: tagsFrom("a", "b")}))
		}, "AccessDenied: Policy is outside your own account."},
	})
}

// TestGetPolicy: what GetPolicy shows that ListPolicies does not, and when a
// policy was updated.
func TestGetPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	w.createPolicy("Team", "/team/", listUsers)
	w.pass(time.Hour)
	arn := new(teamPolicy)
	w.must(drop(c.CreatePolicyVersion(ctx, &sdk.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: document(listGroups)})))
	w.must(drop(c.CreateRole(ctx, &sdk.CreateRoleInput{RoleName: new("r"), AssumeRolePolicyDocument: new(trustRoot), PermissionsBoundary: arn})))
	w.must(drop(c.AttachRolePolicy(ctx, &sdk.AttachRolePolicyInput{RoleName: new("r"), PolicyArn: arn})))
	got, err := c.GetPolicy(ctx, &sdk.GetPolicyInput{PolicyArn: arn})
	w.must(err)
	p := got.Policy
	if *p.Description != "of Team" || len(p.Tags) != 1 || *p.AttachmentCount != 1 || *p.PermissionsBoundaryUsageCount != 1 || !p.UpdateDate.Equal(p.CreateDate.Add(time.Hour)) {
		t.Errorf("got %+v", p)
	}
	list, err := c.ListPolicies(ctx, &sdk.ListPoliciesInput{Scope: types.PolicyScopeTypeLocal})
	w.must(err)
	if l := list.Policies; len(l) != 1 || l[0].Description != nil || l[0].Tags != nil || *l[0].AttachmentCount != 1 {
		t.Errorf("listed %+v", l)
	}
	v, err := c.GetPolicyVersion(ctx, &sdk.GetPolicyVersionInput{PolicyArn: arn, VersionId: new("v2")})
	w.must(err)
	text, err := url.PathUnescape(*v.PolicyVersion.Document)
	if err != nil || text != *document(listGroups) || v.PolicyVersion.IsDefaultVersion {
		t.Errorf("version 2 is %+v with %s, %v", v.PolicyVersion, text, err)
	}
	aws, err := c.GetPolicyVersion(ctx, &sdk.GetPolicyVersionInput{PolicyArn: new("arn:aws:iam::aws:policy/AdministratorAccess"), VersionId: new("v1")})
	w.must(err)
	if text, err = url.PathUnescape(*aws.PolicyVersion.Document); err != nil || !strings.Contains(text, `"Action":"*"`) || !aws.PolicyVersion.IsDefaultVersion {
		t.Errorf("AdministratorAccess is %s, %v", text, err)
	}
}

// TestListPolicies: each filter, and pages over both scopes.
func TestListPolicies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	for _, n := range []string{"Attached", "Bound", "Loose"} {
		w.createPolicy(n, "/t/", listUsers)
	}
	w.createPolicy("Root", "/", listUsers)
	arn := func(n string) *string { return new("arn:aws:iam::111122223333:policy/t/" + n) }
	w.user("alice", "")
	w.must(drop(c.AttachUserPolicy(ctx, &sdk.AttachUserPolicyInput{UserName: new("alice"), PolicyArn: arn("Attached")})))
	w.must(drop(c.PutUserPermissionsBoundary(ctx, &sdk.PutUserPermissionsBoundaryInput{UserName: new("alice"), PermissionsBoundary: arn("Bound")})))
	list := func(in sdk.ListPoliciesInput) ([]string, int) {
		return pages(t, func(m *string) (names []string, _ *string, _ bool, _ error) {
			in.Marker = m
			o, err := c.ListPolicies(ctx, &in)
			if err != nil {
				return nil, nil, false, err
			}
			for _, p := range o.Policies {
				names = append(names, *p.PolicyName)
			}
			return names, o.Marker, o.IsTruncated, nil
		})
	}
	tests := []struct {
		name string
		in   sdk.ListPoliciesInput
		want string
	}{
		{"local", sdk.ListPoliciesInput{Scope: types.PolicyScopeTypeLocal}, "Root Attached Bound Loose"},
		{"path", sdk.ListPoliciesInput{PathPrefix: new("/t/")}, "Attached Bound Loose"},
		{"attached", sdk.ListPoliciesInput{OnlyAttached: true}, "Attached Bound AdministratorAccess"},
		{"attached, local", sdk.ListPoliciesInput{OnlyAttached: true, Scope: types.PolicyScopeTypeLocal}, "Attached Bound"},
		{"attached, AWS", sdk.ListPoliciesInput{OnlyAttached: true, Scope: types.PolicyScopeTypeAws}, "AdministratorAccess"},
		{"permissions", sdk.ListPoliciesInput{PolicyUsageFilter: types.PolicyUsageTypePermissionsPolicy}, "Attached AdministratorAccess"},
		{"boundaries", sdk.ListPoliciesInput{PolicyUsageFilter: types.PolicyUsageTypePermissionsBoundary}, "Bound"},
	}
	for _, tt := range tests {
		if got, _ := list(tt.in); strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	all, _ := list(sdk.ListPoliciesInput{})
	paged, calls := list(sdk.ListPoliciesInput{MaxItems: new(int32(3))})
	if d := cmp.Diff(all, paged); d != "" || calls != (len(all)+2)/3 {
		t.Errorf("%d pages of %d: %s", calls, len(all), d)
	}
	for _, n := range []string{"AdministratorAccess", "ReadOnlyAccess", "AmazonAthenaFullAccess", "AmazonKeyspacesFullAccess", "AmazonKeyspacesReadOnlyAccess",
		"AWSCloudTrail_FullAccess", "AWSCloudTrail_ReadOnlyAccess", "AmazonS3FullAccess", "AmazonS3ReadOnlyAccess", "IAMFullAccess", "SecurityAudit"} {
		if !strings.Contains(" "+strings.Join(all, " ")+" ", " "+n+" ") {
			t.Errorf("%s is not listed", n)
		}
	}
}

// TestListEntitiesForPolicy pages through groups, roles and users as one list.
func TestListEntitiesForPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	w.createPolicy("Team", "/team/", listUsers)
	arn := new(teamPolicy)
	w.user("alice", "")
	w.user("bob", "")
	w.must(drop(c.CreateGroup(ctx, &sdk.CreateGroupInput{GroupName: new("dev"), Path: new("/eng/")})))
	w.must(drop(c.CreateRole(ctx, &sdk.CreateRoleInput{RoleName: new("deploy"), AssumeRolePolicyDocument: new(trustRoot), PermissionsBoundary: arn})))
	w.must(drop(c.AttachUserPolicy(ctx, &sdk.AttachUserPolicyInput{UserName: new("alice"), PolicyArn: arn})))
	w.must(drop(c.AttachUserPolicy(ctx, &sdk.AttachUserPolicyInput{UserName: new("bob"), PolicyArn: arn})))
	w.must(drop(c.AttachGroupPolicy(ctx, &sdk.AttachGroupPolicyInput{GroupName: new("dev"), PolicyArn: arn})))
	tests := []struct {
		name string
		in   sdk.ListEntitiesForPolicyInput
		want string
	}{
		{"all", sdk.ListEntitiesForPolicyInput{}, "dev deploy alice bob"},
		{"paged", sdk.ListEntitiesForPolicyInput{MaxItems: new(int32(1))}, "dev deploy alice bob"},
		{"users", sdk.ListEntitiesForPolicyInput{EntityFilter: types.EntityTypeUser}, "alice bob"},
		{"roles", sdk.ListEntitiesForPolicyInput{EntityFilter: types.EntityTypeRole}, "deploy"},
		{"path", sdk.ListEntitiesForPolicyInput{PathPrefix: new("/eng/")}, "dev"},
		{"permissions", sdk.ListEntitiesForPolicyInput{PolicyUsageFilter: types.PolicyUsageTypePermissionsPolicy}, "dev alice bob"},
		{"boundary", sdk.ListEntitiesForPolicyInput{PolicyUsageFilter: types.PolicyUsageTypePermissionsBoundary}, "deploy"},
	}
	for _, tt := range tests {
		got, _ := pages(t, func(m *string) (names []string, _ *string, _ bool, _ error) {
			tt.in.Marker, tt.in.PolicyArn = m, arn
			o, err := c.ListEntitiesForPolicy(ctx, &tt.in)
			if err != nil {
				return nil, nil, false, err
			}
			for _, g := range o.PolicyGroups {
				names = append(names, *g.GroupName)
			}
			for _, r := range o.PolicyRoles {
				names = append(names, *r.RoleName)
			}
			for _, u := range o.PolicyUsers {
				names = append(names, *u.UserName)
			}
			return names, o.Marker, o.IsTruncated, nil
		})
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestAttachments: users, groups and roles take ten managed policies each.
func TestAttachments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	w.user("alice", "")
	w.must(drop(c.CreateGroup(ctx, &sdk.CreateGroupInput{GroupName: new("dev")})))
	w.must(drop(c.CreateRole(ctx, &sdk.CreateRoleInput{RoleName: new("deploy"), AssumeRolePolicyDocument: new(trustRoot)})))
	var last *string
	for i := range 11 {
		last = w.createPolicy(fmt.Sprintf("p%02d", i), "/p/", listUsers).Arn
		if i == 10 {
			break
		}
		w.must(drop(c.AttachUserPolicy(ctx, &sdk.AttachUserPolicyInput{UserName: new("alice"), PolicyArn: last})))
		w.must(drop(c.AttachGroupPolicy(ctx, &sdk.AttachGroupPolicyInput{GroupName: new("dev"), PolicyArn: last})))
		w.must(drop(c.AttachRolePolicy(ctx, &sdk.AttachRolePolicyInput{RoleName: new("deploy"), PolicyArn: last})))
	}
	w.try([]attempt{
		{"user", func() error {
			return drop(c.AttachUserPolicy(ctx, &sdk.AttachUserPolicyInput{UserName: new("alice"), PolicyArn: last}))
		}, "LimitExceeded: Cannot exceed quota for PoliciesPerUser: 10"},
		{"group", func() error {
			return drop(c.AttachGroupPolicy(ctx, &sdk.AttachGroupPolicyInput{GroupName: new("dev"), PolicyArn: last}))
		}, "LimitExceeded: Cannot exceed quota for PoliciesPerGroup: 10"},
		{"role", func() error {
			return drop(c.AttachRolePolicy(ctx, &sdk.AttachRolePolicyInput{RoleName: new("deploy"), PolicyArn: last}))
		}, "LimitExceeded: Cannot exceed quota for PoliciesPerRole: 10"},
		{"user with policies", func() error { return drop(c.DeleteRole(ctx, &sdk.DeleteRoleInput{RoleName: new("deploy")})) },
			"DeleteConflict: Cannot delete entity, must detach all policies first."},
	})
	got, calls := pages(t, func(m *string) (names []string, _ *string, _ bool, _ error) {
		o, err := c.ListAttachedUserPolicies(ctx, &sdk.ListAttachedUserPoliciesInput{UserName: new("alice"), PathPrefix: new("/p/"), MaxItems: new(int32(4)), Marker: m})
		if err != nil {
			return nil, nil, false, err
		}
		for _, p := range o.AttachedPolicies {
			names = append(names, *p.PolicyName)
		}
		return names, o.Marker, o.IsTruncated, nil
	})
	if len(got) != 10 || got[0] != "p00" || calls != 3 {
		t.Errorf("%d pages of %q", calls, got)
	}
	none, err := c.ListAttachedRolePolicies(ctx, &sdk.ListAttachedRolePoliciesInput{RoleName: new("deploy"), PathPrefix: new("/q/")})
	if err != nil || len(none.AttachedPolicies) != 0 {
		t.Errorf("at another path: %v, %v", none, err)
	}
}

// TestTags: tags of every kind of entity, with their pages and limits, and as
// conditions on the call.
func TestTags(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	w.user("alice", "")
	w.must(drop(c.CreateRole(ctx, &sdk.CreateRoleInput{RoleName: new("deploy"), AssumeRolePolicyDocument: new(trustRoot)})))
	arn := w.createPolicy("Team", "/team/", listUsers).Arn
	w.must(drop(c.UntagPolicy(ctx, &sdk.UntagPolicyInput{PolicyArn: arn, TagKeys: []string{"TEAM"}})))
	w.must(drop(c.CreateInstanceProfile(ctx, &sdk.CreateInstanceProfileInput{InstanceProfileName: new("web")})))
	oidc, err := c.CreateOpenIDConnectProvider(ctx, &sdk.CreateOpenIDConnectProviderInput{Url: new("https://idp.example.com")})
	w.must(err)
	only := w.user("tagger", `{"Effect":"Allow","Action":"iam:Tag*","Resource":"*","Condition":{"StringEquals":{"aws:RequestTag/team":"a"}}}`)
	kinds := []struct {
		name  string
		tag   func(tags []types.Tag) error
		untag func(keys []string) error
		list  func(marker *string) ([]types.Tag, *string, bool, error)
	}{
		{"user",
			func(x []types.Tag) error {
				return drop(c.TagUser(ctx, &sdk.TagUserInput{UserName: new("alice"), Tags: x}))
			},
			func(k []string) error {
				return drop(c.UntagUser(ctx, &sdk.UntagUserInput{UserName: new("alice"), TagKeys: k}))
			},
			func(m *string) ([]types.Tag, *string, bool, error) {
				o, err := c.ListUserTags(ctx, &sdk.ListUserTagsInput{UserName: new("alice"), Marker: m, MaxItems: new(int32(1))})
				return o.Tags, o.Marker, o.IsTruncated, err
			}},
		{"role",
			func(x []types.Tag) error {
				return drop(c.TagRole(ctx, &sdk.TagRoleInput{RoleName: new("deploy"), Tags: x}))
			},
			func(k []string) error {
				return drop(c.UntagRole(ctx, &sdk.UntagRoleInput{RoleName: new("deploy"), TagKeys: k}))
			},
			func(m *string) ([]types.Tag, *string, bool, error) {
				o, err := c.ListRoleTags(ctx, &sdk.ListRoleTagsInput{RoleName: new("deploy"), Marker: m, MaxItems: new(int32(1))})
				return o.Tags, o.Marker, o.IsTruncated, err
			}},
		{"policy",
			func(x []types.Tag) error {
				return drop(c.TagPolicy(ctx, &sdk.TagPolicyInput{PolicyArn: arn, Tags: x}))
			},
			func(k []string) error {
				return drop(c.UntagPolicy(ctx, &sdk.UntagPolicyInput{PolicyArn: arn, TagKeys: k}))
			},
			func(m *string) ([]types.Tag, *string, bool, error) {
				o, err := c.ListPolicyTags(ctx, &sdk.ListPolicyTagsInput{PolicyArn: arn, Marker: m, MaxItems: new(int32(1))})
				return o.Tags, o.Marker, o.IsTruncated, err
			}},
		{"instance profile",
			func(x []types.Tag) error {
				return drop(c.TagInstanceProfile(ctx, &sdk.TagInstanceProfileInput{InstanceProfileName: new("web"), Tags: x}))
			},
			func(k []string) error {
				return drop(c.UntagInstanceProfile(ctx, &sdk.UntagInstanceProfileInput{InstanceProfileName: new("web"), TagKeys: k}))
			},
			func(m *string) ([]types.Tag, *string, bool, error) {
				o, err := c.ListInstanceProfileTags(ctx, &sdk.ListInstanceProfileTagsInput{InstanceProfileName: new("web"), Marker: m, MaxItems: new(int32(1))})
				return o.Tags, o.Marker, o.IsTruncated, err
			}},
		{"provider",
			func(x []types.Tag) error {
				return drop(c.TagOpenIDConnectProvider(ctx, &sdk.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: oidc.OpenIDConnectProviderArn, Tags: x}))
			},
			func(k []string) error {
				return drop(c.UntagOpenIDConnectProvider(ctx, &sdk.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: oidc.OpenIDConnectProviderArn, TagKeys: k}))
			},
			func(m *string) ([]types.Tag, *string, bool, error) {
				o, err := c.ListOpenIDConnectProviderTags(ctx, &sdk.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: oidc.OpenIDConnectProviderArn, Marker: m, MaxItems: new(int32(1))})
				return o.Tags, o.Marker, o.IsTruncated, err
			}},
	}
	var many []types.Tag
	for i := range 50 {
		many = append(many, types.Tag{Key: new(fmt.Sprintf("k%d", i)), Value: new("v")})
	}
	for _, k := range kinds {
		w.try([]attempt{
			{k.name + ": tag", func() error { return k.tag(tagsFrom("b", "1", "a", "2")) }, ""},
			{k.name + ": replace", func() error { return k.tag(tagsFrom("B", "3")) }, ""},
			{k.name + ": twice", func() error { return k.tag(tagsFrom("x", "1", "X", "2")) }, "InvalidInput: Duplicate tag keys found."},
			{k.name + ": reserved", func() error { return k.tag(tagsFrom("aws:x", "1")) }, "InvalidInput: "},
			{k.name + ": too many", func() error { return k.tag(many) }, "LimitExceeded: The number of tags has reached the maximum limit."},
			{k.name + ": untag", func() error { return k.untag([]string{"A", "none"}) }, ""},
			{k.name + ": tag", func() error { return k.tag(tagsFrom("c", "")) }, ""},
		})
		got, calls := pages(t, func(m *string) (out []string, _ *string, _ bool, _ error) {
			tags, next, more, err := k.list(m)
			for _, x := range tags {
				out = append(out, *x.Key+"="+*x.Value)
			}
			return out, next, more, err
		})
		if strings.Join(got, " ") != "B=3 c=" || calls != 2 {
			t.Errorf("%s has the tags %q in %d pages", k.name, got, calls)
		}
	}
	w.try([]attempt{
		{"a tag that is not allowed", func() error {
			return drop(only.TagRole(ctx, &sdk.TagRoleInput{RoleName: new("deploy"), Tags: tagsFrom("team", "b")}))
		}, "AccessDenied: "},
		{"a tag that is", func() error {
			return drop(only.TagRole(ctx, &sdk.TagRoleInput{RoleName: new("deploy"), Tags: tagsFrom("team", "a")}))
		}, ""},
	})
}
