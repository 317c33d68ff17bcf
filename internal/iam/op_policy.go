package iam

import (
	"slices"
	"strconv"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/policy"
)

// policyOperations are about managed policies as a whole.
func (s *api) policyOperations() []call.Operation {
	return []call.Operation{
		op("CreatePolicy", func(c *call.Call, in *sdk.CreatePolicyInput) target {
			return onPath(c, "policy", in.Path, str(in.PolicyName)).requestTags(in.Tags)
		}, s.createPolicy),
		op("GetPolicy", func(c *call.Call, in *sdk.GetPolicyInput) target { return s.onPolicy(c, in.PolicyArn) }, s.getPolicy, call.ReadOnly),
		op("ListPolicies", func(c *call.Call, in *sdk.ListPoliciesInput) target { return onPath(c, "policy", in.PathPrefix, "") }, s.listPolicies, call.ReadOnly),
		op("DeletePolicy", func(c *call.Call, in *sdk.DeletePolicyInput) target { return s.onPolicy(c, in.PolicyArn) }, s.deletePolicy),
		op("ListEntitiesForPolicy", func(c *call.Call, in *sdk.ListEntitiesForPolicyInput) target { return s.onPolicy(c, in.PolicyArn) },
			s.listEntities, call.ReadOnly),
		op("TagPolicy", func(c *call.Call, in *sdk.TagPolicyInput) target {
			return s.onPolicy(c, in.PolicyArn).requestTags(in.Tags)
		}, s.tagPolicy),
		op("UntagPolicy", func(c *call.Call, in *sdk.UntagPolicyInput) target {
			return s.onPolicy(c, in.PolicyArn).with("aws:TagKeys", in.TagKeys...)
		}, s.untagPolicy),
		op("ListPolicyTags", func(c *call.Call, in *sdk.ListPolicyTagsInput) target { return s.onPolicy(c, in.PolicyArn) }, s.listPolicyTags, call.ReadOnly),
	}
}

func (s *api) policyVersionOperations() []call.Operation {
	return []call.Operation{
		op("CreatePolicyVersion", func(c *call.Call, in *sdk.CreatePolicyVersionInput) target { return s.onPolicy(c, in.PolicyArn) }, s.createPolicyVersion),
		op("GetPolicyVersion", func(c *call.Call, in *sdk.GetPolicyVersionInput) target { return s.onPolicy(c, in.PolicyArn) }, s.getPolicyVersion, call.ReadOnly),
		op("ListPolicyVersions", func(c *call.Call, in *sdk.ListPolicyVersionsInput) target { return s.onPolicy(c, in.PolicyArn) }, s.listPolicyVersions, call.ReadOnly),
		op("DeletePolicyVersion", func(c *call.Call, in *sdk.DeletePolicyVersionInput) target { return s.onPolicy(c, in.PolicyArn) }, s.deletePolicyVersion),
		op("SetDefaultPolicyVersion", func(c *call.Call, in *sdk.SetDefaultPolicyVersionInput) target { return s.onPolicy(c, in.PolicyArn) }, s.setDefaultVersion),
	}
}

// policyUse counts what uses a managed policy in an account.
type policyUse struct{ attached, boundary int32 }

// policyUses counts the uses of every managed policy, by ARN.
func (a *account) policyUses() map[string]policyUse {
	m := map[string]policyUse{}
	count := func(g *grants, boundary string) {
		for _, arn := range g.Attached {
			n := m[arn]
			n.attached++
			m[arn] = n
		}
		if boundary != "" {
			n := m[boundary]
			n.boundary++
			m[boundary] = n
		}
	}
	for _, u := range a.users {
		count(&u.grants, u.Boundary)
	}
	for _, g := range a.groups {
		count(&g.grants, "")
	}
	for _, r := range a.roles {
		count(&r.grants, r.Boundary)
	}
	return m
}

// listedPolicy is a policy as lists show it: without description and tags.
func listedPolicy(p *managedPolicy, n policyUse) types.Policy {
	return types.Policy{Arn: new(p.ARN), PolicyId: new(p.ID), PolicyName: new(p.Name), Path: new(p.Path), DefaultVersionId: new(p.Default),
		AttachmentCount: new(n.attached), PermissionsBoundaryUsageCount: new(n.boundary), IsAttachable: true, CreateDate: new(p.Created), UpdateDate: new(p.Updated)}
}

func (s *api) createPolicy(c *call.Call, in *sdk.CreatePolicyInput) (*sdk.CreatePolicyOutput, error) {
	ch, err := s.d.begin(c)
	if err != nil {
		return nil, err
	}
	name := str(in.PolicyName)
	for _, p := range ch.acc.policies {
		if fold(p.Name) == fold(name) { // whatever the path
			return nil, alreadyExists("A policy called %s already exists. Duplicate names are not allowed.", name)
		}
	}
	if err := quota(len(ch.acc.policies), maxPolicies, "PoliciesPerAccount"); err != nil {
		return nil, err
	}
	if err := s.checkDocument(in.PolicyDocument, policy.Identity, maxManagedSize); err != nil {
		return nil, err
	}
	now := s.d.wholeSecond()
	p := &managedPolicy{ID: newID(prefixPolicy), Name: name, Path: pathOr(in.Path), Created: now, Updated: now, Description: str(in.Description),
		Default: "v1", Next: 2, Versions: []policyVersion{{ID: "v1", Document: str(in.PolicyDocument), Created: now}}}
	p.ARN = ch.acc.arn("policy", p.Path, p.Name)
	if p.Tags, err = setTags(nil, in.Tags); err != nil {
		return nil, err
	}
	if err := p.compile(); err != nil {
		return nil, err
	}
	if err := ch.setPolicy(nil, p); err != nil {
		return nil, err
	}
	out := listedPolicy(p, policyUse{})
	out.Tags = tagsOf(p.Tags)
	return &sdk.CreatePolicyOutput{Policy: &out}, nil
}

// policyByARN finds a policy, the account's or AWS's, for reading.
func (s *api) policyByARN(c *call.Call, arn *string) (*account, *managedPolicy, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, nil, err
	}
	if _, err := aws.ParseARN(str(arn)); err != nil {
		return nil, nil, invalidARN(str(arn))
	}
	p := s.d.policy(a, *arn)
	if p == nil {
		return nil, nil, noPolicy(*arn)
	}
	return a, p, nil
}

// ownPolicy finds a policy of the account for changing.
func ownPolicy(a *account, arn *string) (*managedPolicy, error) {
	parsed, err := aws.ParseARN(str(arn))
	if err != nil {
		return nil, invalidARN(str(arn))
	}
	if parsed.Account != a.settings.ID {
		return nil, notOwnPolicy()
	}
	if p := a.policies[*arn]; p != nil {
		return p, nil
	}
	return nil, noPolicy(*arn)
}

// changePolicy runs fn on a copy of a policy and keeps it.
func (s *api) changePolicy(c *call.Call, arn *string, fn func(p *managedPolicy) error) error {
	ch, err := s.d.begin(c)
	if err != nil {
		return err
	}
	old, err := ownPolicy(ch.acc, arn)
	if err != nil {
		return err
	}
	p := old.copy()
	if err := fn(p); err != nil {
		return err
	}
	if err := p.compile(); err != nil {
		return err
	}
	return ch.setPolicy(old, p)
}

func (s *api) getPolicy(c *call.Call, in *sdk.GetPolicyInput) (*sdk.GetPolicyOutput, error) {
	a, p, err := s.policyByARN(c, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	out := listedPolicy(p, a.policyUses()[p.ARN])
	out.Description, out.Tags = optional(p.Description), tagList(p.Tags)
	return &sdk.GetPolicyOutput{Policy: &out}, nil
}

func (s *api) listPolicies(c *call.Call, in *sdk.ListPoliciesInput) (*sdk.ListPoliciesOutput, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, err
	}
	var all []*managedPolicy
	if in.Scope != types.PolicyScopeTypeAws {
		all = byName(a.policies, in.PathPrefix, func(p *managedPolicy) string { return p.Path })
	}
	if in.Scope != types.PolicyScopeTypeLocal {
		all = append(all, byName(s.d.managed.byARN, in.PathPrefix, func(p *managedPolicy) string { return p.Path })...)
	}
	uses := a.policyUses()
	all = slices.DeleteFunc(all, func(p *managedPolicy) bool {
		n := uses[p.ARN]
		switch in.PolicyUsageFilter {
		case types.PolicyUsageTypePermissionsPolicy:
			return n.attached == 0
		case types.PolicyUsageTypePermissionsBoundary:
			return n.boundary == 0
		}
		return in.OnlyAttached && n == policyUse{}
	})
	slices.SortFunc(all, func(x, y *managedPolicy) int { return strings.Compare(x.ARN, y.ARN) })
	part, next, err := page(all, in.Marker, in.MaxItems, func(p *managedPolicy) string { return p.ARN })
	return &sdk.ListPoliciesOutput{Policies: convert(part, func(p *managedPolicy) types.Policy { return listedPolicy(p, uses[p.ARN]) }),
		IsTruncated: next != nil, Marker: next}, err
}

func (s *api) deletePolicy(c *call.Call, in *sdk.DeletePolicyInput) (*sdk.DeletePolicyOutput, error) {
	ch, err := s.d.begin(c)
	if err != nil {
		return nil, err
	}
	p, err := ownPolicy(ch.acc, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	switch {
	case ch.acc.policyUses()[p.ARN] != policyUse{}:
		return nil, deleteConflict("Cannot delete a policy attached to entities.")
	case len(p.Versions) > 1:
		return nil, deleteConflict("This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
	}
	return &sdk.DeletePolicyOutput{}, ch.setPolicy(p, nil)
}

// policyEntity is a user, group or role that uses a policy.
type policyEntity struct{ kind, id, name string }

// listEntities pages through groups, users and roles as one list.
func (s *api) listEntities(c *call.Call, in *sdk.ListEntitiesForPolicyInput) (*sdk.ListEntitiesForPolicyOutput, error) {
	a, p, err := s.policyByARN(c, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	used := func(g *grants, boundary string) bool {
		return in.PolicyUsageFilter != types.PolicyUsageTypePermissionsBoundary && slices.Contains(g.Attached, p.ARN) ||
			in.PolicyUsageFilter != types.PolicyUsageTypePermissionsPolicy && boundary == p.ARN
	}
	var all []policyEntity
	add := func(kind types.EntityType, id, name string) {
		if in.EntityFilter == "" || in.EntityFilter == kind {
			all = append(all, policyEntity{string(kind), id, name})
		}
	}
	for _, g := range byName(a.groups, in.PathPrefix, func(g *group) string { return g.Path }) {
		if used(&g.grants, "") {
			add(types.EntityTypeGroup, g.ID, g.Name)
		}
	}
	for _, r := range byName(a.roles, in.PathPrefix, func(r *role) string { return r.Path }) {
		if used(&r.grants, r.Boundary) {
			add(types.EntityTypeRole, r.ID, r.Name)
		}
	}
	for _, u := range byName(a.users, in.PathPrefix, func(u *user) string { return u.Path }) {
		if used(&u.grants, u.Boundary) {
			add(types.EntityTypeUser, u.ID, u.Name)
		}
	}
	part, next, err := page(all, in.Marker, in.MaxItems, func(e policyEntity) string { return e.kind + "/" + fold(e.name) })
	if err != nil {
		return nil, err
	}
	out := &sdk.ListEntitiesForPolicyOutput{PolicyGroups: []types.PolicyGroup{}, PolicyRoles: []types.PolicyRole{}, PolicyUsers: []types.PolicyUser{},
		IsTruncated: next != nil, Marker: next}
	for _, e := range part {
		switch types.EntityType(e.kind) {
		case types.EntityTypeGroup:
			out.PolicyGroups = append(out.PolicyGroups, types.PolicyGroup{GroupId: new(e.id), GroupName: new(e.name)})
		case types.EntityTypeRole:
			out.PolicyRoles = append(out.PolicyRoles, types.PolicyRole{RoleId: new(e.id), RoleName: new(e.name)})
		default:
			out.PolicyUsers = append(out.PolicyUsers, types.PolicyUser{UserId: new(e.id), UserName: new(e.name)})
		}
	}
	return out, nil
}

func (s *api) tagPolicy(c *call.Call, in *sdk.TagPolicyInput) (*sdk.TagPolicyOutput, error) {
	err := s.changePolicy(c, in.PolicyArn, func(p *managedPolicy) (err error) {
		p.Tags, err = setTags(p.Tags, in.Tags)
		return err
	})
	return &sdk.TagPolicyOutput{}, err
}

func (s *api) untagPolicy(c *call.Call, in *sdk.UntagPolicyInput) (*sdk.UntagPolicyOutput, error) {
	err := s.changePolicy(c, in.PolicyArn, func(p *managedPolicy) error {
		p.Tags = dropTags(p.Tags, in.TagKeys)
		return nil
	})
	return &sdk.UntagPolicyOutput{}, err
}

func (s *api) listPolicyTags(c *call.Call, in *sdk.ListPolicyTagsInput) (*sdk.ListPolicyTagsOutput, error) {
	_, p, err := s.policyByARN(c, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	part, next, err := pageTags(p.Tags, in.Marker, in.MaxItems)
	return &sdk.ListPolicyTagsOutput{Tags: tagList(part), IsTruncated: next != nil, Marker: next}, err
}

func (p *managedPolicy) sdkVersion(v *policyVersion) types.PolicyVersion {
	return types.PolicyVersion{VersionId: new(v.ID), IsDefaultVersion: v.ID == p.Default, CreateDate: new(v.Created)}
}

func (s *api) createPolicyVersion(c *call.Call, in *sdk.CreatePolicyVersionInput) (*sdk.CreatePolicyVersionOutput, error) {
	out := &sdk.CreatePolicyVersionOutput{}
	err := s.changePolicy(c, in.PolicyArn, func(p *managedPolicy) error {
		if err := s.checkDocument(in.PolicyDocument, policy.Identity, maxManagedSize); err != nil {
			return err
		}
		if len(p.Versions) >= maxPolicyVersions {
			return fail(aws.LimitExceeded, 409, "LimitExceeded", "A managed policy can have up to %d versions. Before you create a new version, you must delete an existing version.", maxPolicyVersions)
		}
		v := policyVersion{ID: "v" + strconv.Itoa(p.Next), Document: str(in.PolicyDocument), Created: s.d.wholeSecond()}
		p.Next++
		p.Versions, p.Updated = append(p.Versions, v), v.Created
		if in.SetAsDefault {
			p.Default = v.ID
		}
		out.PolicyVersion = new(p.sdkVersion(&v))
		return nil
	})
	return out, err
}

func (s *api) getPolicyVersion(c *call.Call, in *sdk.GetPolicyVersionInput) (*sdk.GetPolicyVersionOutput, error) {
	_, p, err := s.policyByARN(c, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	v := p.version(str(in.VersionId))
	if v == nil {
		return nil, noPolicyVersion(p.ARN, str(in.VersionId))
	}
	out := p.sdkVersion(v)
	out.Document = encoded(v.Document)
	return &sdk.GetPolicyVersionOutput{PolicyVersion: &out}, nil
}

// number is the n of version "vn", by which versions are in order.
func (v *policyVersion) number() int {
	n, err := strconv.Atoi(strings.TrimPrefix(v.ID, "v"))
	if err != nil {
		return 0
	}
	return n
}

// latestFirst are a policy's versions in the order of lists.
func (p *managedPolicy) latestFirst() []policyVersion {
	return slices.SortedFunc(slices.Values(p.Versions), func(x, y policyVersion) int { return y.number() - x.number() })
}

func (s *api) listPolicyVersions(c *call.Call, in *sdk.ListPolicyVersionsInput) (*sdk.ListPolicyVersionsOutput, error) {
	_, p, err := s.policyByARN(c, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	// The later, the smaller the key.
	part, next, err := page(p.latestFirst(), in.Marker, in.MaxItems, func(v policyVersion) string {
		return strconv.Itoa(1<<30 - v.number())
	})
	return &sdk.ListPolicyVersionsOutput{Versions: convert(part, func(v policyVersion) types.PolicyVersion { return p.sdkVersion(&v) }),
		IsTruncated: next != nil, Marker: next}, err
}

func (s *api) deletePolicyVersion(c *call.Call, in *sdk.DeletePolicyVersionInput) (*sdk.DeletePolicyVersionOutput, error) {
	err := s.changePolicy(c, in.PolicyArn, func(p *managedPolicy) error {
		i := slices.IndexFunc(p.Versions, func(v policyVersion) bool { return v.ID == str(in.VersionId) })
		switch {
		case i < 0:
			return noPolicyVersion(p.ARN, str(in.VersionId))
		case p.Versions[i].ID == p.Default:
			return deleteConflict("Cannot delete the default version of a policy.")
		}
		p.Versions = slices.Delete(p.Versions, i, i+1)
		return nil
	})
	return &sdk.DeletePolicyVersionOutput{}, err
}

func (s *api) setDefaultVersion(c *call.Call, in *sdk.SetDefaultPolicyVersionInput) (*sdk.SetDefaultPolicyVersionOutput, error) {
	err := s.changePolicy(c, in.PolicyArn, func(p *managedPolicy) error {
		if p.version(str(in.VersionId)) == nil {
			return noPolicyVersion(p.ARN, str(in.VersionId))
		}
		p.Default = str(in.VersionId)
		return nil
	})
	return &sdk.SetDefaultPolicyVersionOutput{}, err
}
