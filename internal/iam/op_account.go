package iam

import (
	"slices"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"spoor/internal/call"
)

// accountOperations are about the account as a whole.
func (s *api) accountOperations() []call.Operation {
	return []call.Operation{
		op("CreateAccountAlias", anything, s.createAlias),
		op("ListAccountAliases", anything, s.listAliases, call.ReadOnly),
		op("DeleteAccountAlias", anything, s.deleteAlias),
		op("GetAccountSummary", anything, s.accountSummary, call.ReadOnly),
		op("GetAccountAuthorizationDetails", anything, s.accountDetails, call.ReadOnly),
		op("GenerateCredentialReport", anything, s.generateReport),
		op("GetCredentialReport", anything, s.getReport, call.ReadOnly),
	}
}

// changeSettings runs fn on a copy of the account's settings and keeps it.
func (s *api) changeSettings(c *call.Call, fn func(ch *change, next *settings) error) error {
	ch, err := s.d.begin(c)
	if err != nil {
		return err
	}
	next := ch.acc.settings.copy()
	if err := fn(ch, next); err != nil {
		return err
	}
	return ch.setSettings(next)
}

// aliasPattern is what AWS's message shows. Go's regular expressions cannot
// look ahead, so the check is written out.
const aliasPattern = "^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$"

// createAlias gives the account its alias, in place of the one it had. Aliases
// are unique among all accounts.
func (s *api) createAlias(c *call.Call, in *sdk.CreateAccountAliasInput) (*sdk.CreateAccountAliasOutput, error) {
	alias := str(in.AccountAlias)
	if strings.Trim(alias, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || strings.HasPrefix(alias, "-") || strings.HasSuffix(alias, "-") || strings.Contains(alias, "--") {
		return nil, validationError("1 validation error detected: Value '%s' at 'accountAlias' failed to satisfy constraint: Member must satisfy regular expression pattern: %s",
			alias, aliasPattern)
	}
	err := s.changeSettings(c, func(_ *change, next *settings) error {
		for _, other := range s.d.current.Load().accounts { // begin holds the lock
			if other.settings.Alias == alias {
				return alreadyExists("The account alias %s already exists.", alias)
			}
		}
		next.Alias = alias
		return nil
	})
	return &sdk.CreateAccountAliasOutput{}, err
}

func (s *api) listAliases(c *call.Call, _ *sdk.ListAccountAliasesInput) (*sdk.ListAccountAliasesOutput, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, err
	}
	out := &sdk.ListAccountAliasesOutput{AccountAliases: []string{}}
	if a.settings.Alias != "" {
		out.AccountAliases = append(out.AccountAliases, a.settings.Alias)
	}
	return out, nil
}

func (s *api) deleteAlias(c *call.Call, in *sdk.DeleteAccountAliasInput) (*sdk.DeleteAccountAliasOutput, error) {
	err := s.changeSettings(c, func(_ *change, next *settings) error {
		if next.Alias != str(in.AccountAlias) {
			return noSuchEntity("The account alias %s cannot be found.", str(in.AccountAlias))
		}
		next.Alias = ""
		return nil
	})
	return &sdk.DeleteAccountAliasOutput{}, err
}

func (s *api) accountSummary(c *call.Call, _ *sdk.GetAccountSummaryInput) (*sdk.GetAccountSummaryOutput, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, err
	}
	versions, rootKeys := 0, int32(0)
	for _, p := range a.policies {
		versions += len(p.Versions)
	}
	if len(a.settings.RootKeys) > 0 {
		rootKeys = 1
	}
	return &sdk.GetAccountSummaryOutput{SummaryMap: map[string]int32{
		"Users": int32(len(a.users)), "UsersQuota": maxUsers,
		"Groups": int32(len(a.groups)), "GroupsQuota": maxGroups,
		"Roles": int32(len(a.roles)), "RolesQuota": maxRoles,
		"Policies": int32(len(a.policies)), "PoliciesQuota": maxPolicies,
		"PolicyVersionsInUse": int32(versions), "PolicyVersionsInUseQuota": 10000,
		"InstanceProfiles": int32(len(a.profiles)), "InstanceProfilesQuota": maxInstanceProfiles,
		"Providers":          int32(len(a.providers)),
		"ServerCertificates": 0, "ServerCertificatesQuota": 20,
		"MFADevices": 0, "MFADevicesInUse": 0,
		"AccountMFAEnabled": 0, "AccountAccessKeysPresent": rootKeys, "AccountPasswordPresent": 0, "AccountSigningCertificatesPresent": 0,
		"GlobalEndpointTokenVersion":      1,
		"AccessKeysPerUserQuota":          maxKeysPerUser,
		"GroupsPerUserQuota":              maxGroupsPerUser,
		"SigningCertificatesPerUserQuota": 2,
		"AttachedPoliciesPerUserQuota":    maxAttached, "AttachedPoliciesPerGroupQuota": maxAttached, "AttachedPoliciesPerRoleQuota": maxAttached,
		"UserPolicySizeQuota": maxInlineUser, "GroupPolicySizeQuota": maxInlineGroup, "RolePolicySizeQuota": maxInlineRole,
		"PolicySizeQuota": maxManagedSize, "VersionsPerPolicyQuota": maxPolicyVersions, "AssumeRolePolicySizeQuota": maxTrustSize,
	}}, nil
}

// detail is one entry of GetAccountAuthorizationDetails, whose pages run
// through entities of all kinds as one list.
type detail struct {
	key string
	add func(out *sdk.GetAccountAuthorizationDetailsOutput)
}

func (s *api) accountDetails(c *call.Call, in *sdk.GetAccountAuthorizationDetailsInput) (*sdk.GetAccountAuthorizationDetailsOutput, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, err
	}
	part, next, err := page(s.details(a, in.Filter), in.Marker, in.MaxItems, func(d detail) string { return d.key })
	if err != nil {
		return nil, err
	}
	out := &sdk.GetAccountAuthorizationDetailsOutput{UserDetailList: []types.UserDetail{}, GroupDetailList: []types.GroupDetail{},
		RoleDetailList: []types.RoleDetail{}, Policies: []types.ManagedPolicyDetail{}, IsTruncated: next != nil, Marker: next}
	for _, d := range part {
		d.add(out)
	}
	return out, nil
}

// details are the entries that pass a filter, in the order of their keys. Of
// AWS's own policies it has those in use.
func (s *api) details(a *account, filter []types.EntityType) []detail {
	wanted := func(t types.EntityType) bool { return len(filter) == 0 || slices.Contains(filter, t) }
	var out []detail
	if wanted(types.EntityTypeUser) {
		for _, k := range sortedKeys(a.users) {
			out = append(out, detail{"1" + k, func(o *sdk.GetAccountAuthorizationDetailsOutput) {
				o.UserDetailList = append(o.UserDetailList, s.userDetail(a, a.users[k]))
			}})
		}
	}
	if wanted(types.EntityTypeGroup) {
		for _, k := range sortedKeys(a.groups) {
			out = append(out, detail{"2" + k, func(o *sdk.GetAccountAuthorizationDetailsOutput) {
				o.GroupDetailList = append(o.GroupDetailList, s.groupDetail(a, a.groups[k]))
			}})
		}
	}
	if wanted(types.EntityTypeRole) {
		for _, k := range sortedKeys(a.roles) {
			out = append(out, detail{"3" + k, func(o *sdk.GetAccountAuthorizationDetailsOutput) {
				o.RoleDetailList = append(o.RoleDetailList, s.roleDetail(a, a.roles[k]))
			}})
		}
	}
	uses := a.policyUses()
	add := func(p *managedPolicy) {
		out = append(out, detail{"4" + p.ARN, func(o *sdk.GetAccountAuthorizationDetailsOutput) {
			o.Policies = append(o.Policies, policyDetail(p, uses[p.ARN]))
		}})
	}
	if wanted(types.EntityTypeAWSManagedPolicy) {
		for _, arn := range sortedKeys(s.d.managed.byARN) {
			if uses[arn] != (policyUse{}) {
				add(s.d.managed.byARN[arn])
			}
		}
	}
	if wanted(types.EntityTypeLocalManagedPolicy) {
		for _, arn := range sortedKeys(a.policies) {
			add(a.policies[arn])
		}
	}
	slices.SortFunc(out, func(x, y detail) int { return strings.Compare(x.key, y.key) })
	return out
}

// inlineDetails are a holder's inline policies, by name.
func inlineDetails(g *grants) []types.PolicyDetail {
	return convert(sortedKeys(g.Inline), func(n string) types.PolicyDetail {
		return types.PolicyDetail{PolicyName: new(n), PolicyDocument: encoded(g.Inline[n])}
	})
}

func (s *api) userDetail(a *account, u *user) types.UserDetail {
	out := types.UserDetail{Arn: new(a.userARN(u)), CreateDate: new(u.Created), Path: new(u.Path), UserId: new(u.ID), UserName: new(u.Name),
		GroupList:               convert(a.groupsOf(u), func(g *group) string { return g.Name }),
		AttachedManagedPolicies: s.attachments(a, &u.grants, nil), PermissionsBoundary: boundaryOf(u.Boundary), Tags: tagList(u.Tags)}
	if len(u.Inline) > 0 { // absent for users without, unlike groups' and roles'
		out.UserPolicyList = inlineDetails(&u.grants)
	}
	return out
}

func (s *api) groupDetail(a *account, g *group) types.GroupDetail {
	return types.GroupDetail{Arn: new(a.groupARN(g)), CreateDate: new(g.Created), Path: new(g.Path), GroupId: new(g.ID), GroupName: new(g.Name),
		GroupPolicyList: inlineDetails(&g.grants), AttachedManagedPolicies: s.attachments(a, &g.grants, nil)}
}

func (s *api) roleDetail(a *account, r *role) types.RoleDetail {
	return types.RoleDetail{Arn: new(a.roleARN(r)), CreateDate: new(r.Created), Path: new(r.Path), RoleId: new(r.ID), RoleName: new(r.Name),
		AssumeRolePolicyDocument: encoded(r.Trust), RolePolicyList: inlineDetails(&r.grants), AttachedManagedPolicies: s.attachments(a, &r.grants, nil),
		InstanceProfileList: convert(a.profilesOf(r), a.listedProfile), PermissionsBoundary: boundaryOf(r.Boundary), Tags: tagList(r.Tags),
		RoleLastUsed: s.roleLastUsed(r)}
}

func policyDetail(p *managedPolicy, n policyUse) types.ManagedPolicyDetail {
	l := listedPolicy(p, n)
	return types.ManagedPolicyDetail{Arn: l.Arn, PolicyId: l.PolicyId, PolicyName: l.PolicyName, Path: l.Path, DefaultVersionId: l.DefaultVersionId,
		AttachmentCount: l.AttachmentCount, PermissionsBoundaryUsageCount: l.PermissionsBoundaryUsageCount, IsAttachable: l.IsAttachable,
		CreateDate: l.CreateDate, UpdateDate: l.UpdateDate, Description: optional(p.Description),
		PolicyVersionList: convert(p.latestFirst(), func(v policyVersion) types.PolicyVersion {
			out := p.sdkVersion(&v)
			out.Document = encoded(v.Document)
			return out
		})}
}
