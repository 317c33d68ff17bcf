package iam

import (
	"encoding/csv"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/google/go-cmp/cmp"

	"spoor/internal/journal"
	"spoor/internal/kv"
)

// TestAccountAlias: an account has one alias, which no other has.
func TestAccountAlias(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	var other Bootstrap
	w.must(w.dir.Bootstrap("999999999999", func(b Bootstrap, batch *kv.Batch) error {
		other = b
		return w.jr.Append(journal.Group{Writes: batch})
	}))
	create := func(c *sdk.Client, alias string) func() error {
		return func() error {
			return drop(c.CreateAccountAlias(ctx, &sdk.CreateAccountAliasInput{AccountAlias: &alias}))
		}
	}
	remove := func(alias string) func() error {
		return func() error {
			return drop(c.DeleteAccountAlias(ctx, &sdk.DeleteAccountAliasInput{AccountAlias: &alias}))
		}
	}
	aliases := func() []string {
		out, err := c.ListAccountAliases(ctx, &sdk.ListAccountAliasesInput{})
		w.must(err)
		return out.AccountAliases
	}
	if got := aliases(); len(got) != 0 {
		t.Error(got)
	}
	stranger := w.client(other.AdminKeyID, "")
	w.try([]attempt{
		{"capitals", create(c, "Acme"), "ValidationError: 1 validation error detected: "},
		{"two hyphens", create(c, "ac--me"), "ValidationError: 1 validation error detected: "},
		{"hyphen at the end", create(c, "acme-"), "ValidationError: 1 validation error detected: "},
		{"too short", create(c, "ac"), "ValidationError: 1 validation error detected: "},
		{"create", create(c, "acme"), ""},
		{"taken by itself", create(c, "acme"), "EntityAlreadyExists: The account alias acme already exists."},
		{"taken by another", create(stranger, "acme"), "EntityAlreadyExists: The account alias acme already exists."},
		{"replace", create(c, "acme-two"), ""},
		{"free again", create(stranger, "acme"), ""},
		{"not its own", remove("acme"), "NoSuchEntity: "},
	})
	w.restart()
	if got := aliases(); !slices.Equal(got, []string{"acme-two"}) {
		t.Error(got)
	}
	w.try([]attempt{{"delete", remove("acme-two"), ""}, {"delete again", remove("acme-two"), "NoSuchEntity: "}})
}

// TestAccountSummary counts what is there, and has every key that AWS has.
func TestAccountSummary(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	before, err := c.GetAccountSummary(ctx, &sdk.GetAccountSummaryInput{})
	w.must(err)
	w.user("alice", "")
	w.must(drop(c.CreateGroup(ctx, &sdk.CreateGroupInput{GroupName: new("dev")})))
	w.must(drop(c.CreateRole(ctx, &sdk.CreateRoleInput{RoleName: new("deploy"), AssumeRolePolicyDocument: new(trustRoot)})))
	w.createPolicy("Team", "/team/", listUsers)
	w.must(drop(c.CreatePolicyVersion(ctx, &sdk.CreatePolicyVersionInput{PolicyArn: new(teamPolicy), PolicyDocument: document(listUsers)})))
	w.must(drop(c.CreateInstanceProfile(ctx, &sdk.CreateInstanceProfileInput{InstanceProfileName: new("web")})))
	w.must(drop(c.CreateOpenIDConnectProvider(ctx, &sdk.CreateOpenIDConnectProviderInput{Url: new("https://idp.example.com")})))
	after, err := c.GetAccountSummary(ctx, &sdk.GetAccountSummaryInput{})
	w.must(err)
	changed := map[string]int32{}
	for k, v := range after.SummaryMap {
		if d := v - before.SummaryMap[k]; d != 0 {
			changed[k] = d
		}
	}
	want := map[string]int32{"Users": 1, "Groups": 1, "Roles": 1, "Policies": 1, "PolicyVersionsInUse": 2, "InstanceProfiles": 1, "Providers": 1}
	if d := cmp.Diff(want, changed); d != "" {
		t.Error(d)
	}
	for _, k := range types.SummaryKeyType("").Values() {
		if _, ok := after.SummaryMap[string(k)]; !ok {
			t.Errorf("%s is missing", k)
		}
	}
}

// TestAuthorizationDetails: all kinds of entities as one list in pages, with
// their policies, and each filter.
func TestAuthorizationDetails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	w.user("alice", listUsers)
	w.must(drop(c.TagUser(ctx, &sdk.TagUserInput{UserName: new("alice"), Tags: tagsFrom("team", "a")})))
	w.must(drop(c.CreateGroup(ctx, &sdk.CreateGroupInput{GroupName: new("dev")})))
	w.must(drop(c.AddUserToGroup(ctx, &sdk.AddUserToGroupInput{GroupName: new("dev"), UserName: new("alice")})))
	w.must(drop(c.PutGroupPolicy(ctx, &sdk.PutGroupPolicyInput{GroupName: new("dev"), PolicyName: new("g"), PolicyDocument: document(listGroups)})))
	w.must(drop(c.CreateRole(ctx, &sdk.CreateRoleInput{RoleName: new("deploy"), AssumeRolePolicyDocument: new(trustRoot)})))
	w.must(drop(c.PutRolePolicy(ctx, &sdk.PutRolePolicyInput{RoleName: new("deploy"), PolicyName: new("r"), PolicyDocument: document(listGroups)})))
	w.createPolicy("Team", "/team/", listUsers)
	w.must(drop(c.AttachRolePolicy(ctx, &sdk.AttachRolePolicyInput{RoleName: new("deploy"), PolicyArn: new(teamPolicy)})))
	w.must(drop(c.CreateInstanceProfile(ctx, &sdk.CreateInstanceProfileInput{InstanceProfileName: new("web")})))
	w.must(drop(c.AddRoleToInstanceProfile(ctx, &sdk.AddRoleToInstanceProfileInput{InstanceProfileName: new("web"), RoleName: new("deploy")})))
	tests := []struct {
		filter []types.EntityType
		size   int32
		want   string
	}{
		{nil, 100, "user/admin user/alice group/dev role/deploy policy/Team policy/AdministratorAccess"},
		{nil, 1, "user/admin user/alice group/dev role/deploy policy/Team policy/AdministratorAccess"},
		{[]types.EntityType{types.EntityTypeUser}, 100, "user/admin user/alice"},
		{[]types.EntityType{types.EntityTypeGroup, types.EntityTypeRole}, 1, "group/dev role/deploy"},
		{[]types.EntityType{types.EntityTypeLocalManagedPolicy}, 100, "policy/Team"},
		{[]types.EntityType{types.EntityTypeAWSManagedPolicy}, 100, "policy/AdministratorAccess"},
	}
	for _, tt := range tests {
		got, _ := pages(t, func(m *string) (names []string, _ *string, _ bool, _ error) {
			o, err := c.GetAccountAuthorizationDetails(ctx, &sdk.GetAccountAuthorizationDetailsInput{Filter: tt.filter, MaxItems: &tt.size, Marker: m})
			if err != nil {
				return nil, nil, false, err
			}
			for _, x := range o.UserDetailList {
				names = append(names, "user/"+*x.UserName)
			}
			for _, x := range o.GroupDetailList {
				names = append(names, "group/"+*x.GroupName)
			}
			for _, x := range o.RoleDetailList {
				names = append(names, "role/"+*x.RoleName)
			}
			for _, x := range o.Policies {
				names = append(names, "policy/"+*x.PolicyName)
			}
			return names, o.Marker, o.IsTruncated, nil
		})
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%v by %d: %q, want %q", tt.filter, tt.size, got, tt.want)
		}
	}
	o, err := c.GetAccountAuthorizationDetails(ctx, &sdk.GetAccountAuthorizationDetailsInput{})
	w.must(err)
	if u := o.UserDetailList[1]; !slices.Equal(u.GroupList, []string{"dev"}) || len(u.UserPolicyList) != 1 || len(u.Tags) != 1 || u.AttachedManagedPolicies == nil {
		t.Errorf("alice %+v", u)
	}
	if u := o.UserDetailList[0]; u.UserPolicyList != nil || *u.AttachedManagedPolicies[0].PolicyName != "AdministratorAccess" {
		t.Errorf("admin %+v", u)
	}
	if r := o.RoleDetailList[0]; len(r.InstanceProfileList) != 1 || len(r.RolePolicyList) != 1 || *r.AttachedManagedPolicies[0].PolicyArn != teamPolicy || r.RoleLastUsed == nil ||
		!strings.HasPrefix(*r.AssumeRolePolicyDocument, "%7B") {
		t.Errorf("deploy %+v", r)
	}
	if p := o.Policies[0]; len(p.PolicyVersionList) != 1 || p.PolicyVersionList[0].Document == nil || *p.AttachmentCount != 1 || *p.Description != "of Team" {
		t.Errorf("Team %+v", p)
	}
	alice := w.user("bob", "")
	w.try([]attempt{{"denied", func() error {
		return drop(alice.GetAccountAuthorizationDetails(ctx, &sdk.GetAccountAuthorizationDetailsInput{}))
	}, "AccessDenied: User: arn:aws:iam::111122223333:user/bob is not authorized to perform: iam:GetAccountAuthorizationDetails on resource: *"}})
}

// TestCredentialReport: a report is made, kept for four hours, and says what
// is there.
func TestCredentialReport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	w.must(drop(c.CreateUser(ctx, &sdk.CreateUserInput{UserName: new("alice"), Path: new("/x/")})))
	w.must(drop(c.CreateLoginProfile(ctx, &sdk.CreateLoginProfileInput{UserName: new("alice"), Password: new("Passw0rd-0")})))
	w.must(drop(c.UpdateAccountPasswordPolicy(ctx, &sdk.UpdateAccountPasswordPolicyInput{MaxPasswordAge: new(int32(10))})))
	key, err := c.CreateAccessKey(ctx, &sdk.CreateAccessKeyInput{UserName: new("alice")})
	w.must(err)
	w.must(drop(c.UpdateAccessKey(ctx, &sdk.UpdateAccessKeyInput{UserName: new("alice"), AccessKeyId: key.AccessKey.AccessKeyId, Status: types.StatusTypeInactive})))
	get := func() error { return drop(c.GetCredentialReport(ctx, &sdk.GetCredentialReportInput{})) }
	w.try([]attempt{{"none", get, "ReportNotPresent: "}})
	generate := func(want types.ReportStateType) {
		t.Helper()
		out, err := c.GenerateCredentialReport(ctx, &sdk.GenerateCredentialReportInput{})
		w.must(err)
		if out.State != want || (out.Description != nil) != (want == types.ReportStateTypeStarted) {
			t.Errorf("state %s, want %s", out.State, want)
		}
	}
	generate(types.ReportStateTypeStarted)
	generate(types.ReportStateTypeComplete)
	w.restart()
	out, err := c.GetCredentialReport(ctx, &sdk.GetCredentialReportInput{})
	w.must(err)
	rows, err := csv.NewReader(strings.NewReader(string(out.Content))).ReadAll()
	w.must(err)
	if len(rows) != 4 || out.ReportFormat != types.ReportFormatTypeTextCsv || !out.GeneratedTime.Equal(w.clock()) {
		t.Fatalf("the report %s", out.Content)
	}
	by := map[string]map[string]string{}
	for _, r := range rows[1:] {
		m := map[string]string{}
		for i, v := range r {
			m[rows[0][i]] = v
		}
		by[m["user"]] = m
	}
	const now = "2026-03-01T12:00:00+00:00"
	want := map[string]string{"user": "alice", "arn": "arn:aws:iam::111122223333:user/x/alice", "user_creation_time": now, "password_enabled": "true",
		"password_last_used": "no_information", "password_last_changed": now, "password_next_rotation": "2026-03-11T12:00:00+00:00", "mfa_active": "false",
		"access_key_1_active": "false", "access_key_1_last_rotated": now, "access_key_1_last_used_date": "N/A", "access_key_1_last_used_region": "N/A",
		"access_key_1_last_used_service": "N/A", "access_key_2_active": "false", "access_key_2_last_rotated": "N/A", "access_key_2_last_used_date": "N/A",
		"access_key_2_last_used_region": "N/A", "access_key_2_last_used_service": "N/A", "cert_1_active": "false", "cert_1_last_rotated": "N/A",
		"cert_2_active": "false", "cert_2_last_rotated": "N/A"}
	if d := cmp.Diff(want, by["alice"]); d != "" {
		t.Error(d)
	}
	if m := by["admin"]; m["password_enabled"] != "false" || m["access_key_1_active"] != "true" || m["access_key_1_last_used_service"] != "iam" || m["access_key_1_last_used_region"] != "us-east-1" {
		t.Errorf("admin %v", m)
	}
	if m := by["<root_account>"]; m["password_enabled"] != "not_supported" || m["access_key_1_active"] != "true" {
		t.Errorf("root %v", slices.Collect(maps.Values(m)))
	}
	w.pass(4*time.Hour - time.Second)
	generate(types.ReportStateTypeComplete)
	w.pass(time.Second)
	w.try([]attempt{{"expired", get, "ReportExpired: "}})
	generate(types.ReportStateTypeStarted)
	w.try([]attempt{{"anew", get, ""}})
}

// TestInstanceProfiles: a profile holds one role, which stays while it does.
func TestInstanceProfiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	w.must(drop(c.CreateRole(ctx, &sdk.CreateRoleInput{RoleName: new("deploy"), AssumeRolePolicyDocument: new(trustRoot)})))
	made, err := c.CreateInstanceProfile(ctx, &sdk.CreateInstanceProfileInput{InstanceProfileName: new("web"), Path: new("/x/"), Tags: tagsFrom("a", "b")})
	w.must(err)
	if p := made.InstanceProfile; *p.Arn != "arn:aws:iam::111122223333:instance-profile/x/web" || !strings.HasPrefix(*p.InstanceProfileId, "AIPA") || len(p.Roles) != 0 || len(p.Tags) != 1 {
		t.Errorf("created %+v", p)
	}
	alice := w.user("alice", `{"Effect":"Allow","Action":"iam:AddRoleToInstanceProfile","Resource":"*"}`)
	add := func(c *sdk.Client, profile, role string) func() error {
		return func() error {
			return drop(c.AddRoleToInstanceProfile(ctx, &sdk.AddRoleToInstanceProfileInput{InstanceProfileName: &profile, RoleName: &role}))
		}
	}
	remove := func() error {
		return drop(c.RemoveRoleFromInstanceProfile(ctx, &sdk.RemoveRoleFromInstanceProfileInput{InstanceProfileName: new("web"), RoleName: new("deploy")}))
	}
	forRole := func() string {
		o, err := c.ListInstanceProfilesForRole(ctx, &sdk.ListInstanceProfilesForRoleInput{RoleName: new("deploy")})
		w.must(err)
		var names []string
		for _, p := range o.InstanceProfiles {
			names = append(names, fmt.Sprint(*p.InstanceProfileName, len(p.Roles)))
		}
		return strings.Join(names, " ")
	}
	w.try([]attempt{
		{"exists", func() error {
			return drop(c.CreateInstanceProfile(ctx, &sdk.CreateInstanceProfileInput{InstanceProfileName: new("WEB")}))
		}, "EntityAlreadyExists: Instance Profile WEB already exists."},
		{"unknown", add(c, "none", "deploy"), "NoSuchEntity: Instance Profile none cannot be found."},
		{"unknown role", add(c, "web", "none"), "NoSuchEntity: The role with name none cannot be found."},
		{"not allowed to pass the role", add(alice, "web", "deploy"),
			"AccessDenied: User: arn:aws:iam::111122223333:user/alice is not authorized to perform: iam:PassRole on resource: arn:aws:iam::111122223333:role/deploy"},
		{"add", add(c, "web", "deploy"), ""},
		{"add again", add(c, "web", "deploy"), "LimitExceeded: Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1"},
		{"role in use", func() error { return drop(c.DeleteRole(ctx, &sdk.DeleteRoleInput{RoleName: new("deploy")})) },
			"DeleteConflict: Cannot delete entity, must remove roles from instance profile first."},
		{"profile in use", func() error {
			return drop(c.DeleteInstanceProfile(ctx, &sdk.DeleteInstanceProfileInput{InstanceProfileName: new("web")}))
		}, "DeleteConflict: Cannot delete entity, must remove roles from instance profile first."},
	})
	w.restart()
	if got := forRole(); got != "web1" {
		t.Errorf("profiles of the role %q", got)
	}
	list, err := c.ListInstanceProfiles(ctx, &sdk.ListInstanceProfilesInput{PathPrefix: new("/x/")})
	if err != nil || len(list.InstanceProfiles) != 1 || *list.InstanceProfiles[0].Roles[0].RoleName != "deploy" {
		t.Errorf("listed %+v, %v", list, err)
	}
	w.try([]attempt{
		{"remove", remove, ""},
		{"remove again", remove, "NoSuchEntity: "},
		{"delete", func() error {
			return drop(c.DeleteInstanceProfile(ctx, &sdk.DeleteInstanceProfileInput{InstanceProfileName: new("web")}))
		}, ""},
		{"get", func() error {
			return drop(c.GetInstanceProfile(ctx, &sdk.GetInstanceProfileInput{InstanceProfileName: new("web")}))
		}, "NoSuchEntity: Instance Profile web cannot be found."},
	})
	if got := forRole(); got != "" {
		t.Errorf("profiles of the role %q", got)
	}
}

// TestOpenIDConnectProviders: providers as resources.
func TestOpenIDConnectProviders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	print1, print2 := strings.Repeat("a", 40), strings.Repeat("B", 40)
	create := func(url string, prints ...string) func() error {
		return func() error {
			return drop(c.CreateOpenIDConnectProvider(ctx, &sdk.CreateOpenIDConnectProviderInput{Url: &url, ThumbprintList: prints, ClientIDList: []string{"a", "b", "a"}}))
		}
	}
	arn := new("arn:aws:iam::111122223333:oidc-provider/idp.example.com/realm")
	none := new("arn:aws:iam::111122223333:oidc-provider/none.example.com")
	w.try([]attempt{
		{"http", create("http://idp.example.com"), "ValidationError: Invalid Open ID Connect Provider URL"},
		{"port", create("https://idp.example.com:8443"), "ValidationError: Invalid Open ID Connect Provider URL"},
		{"query", create("https://idp.example.com?x=1"), "ValidationError: Invalid Open ID Connect Provider URL"},
		{"short thumbprint", create("https://idp.example.com", "abc"), "ValidationError: 1 validation error detected: "},
		{"thumbprint of letters", create("https://idp.example.com", strings.Repeat("z", 40)), "InvalidInput: "},
		{"six thumbprints", create("https://idp.example.com", print1, print1, print1, print1, print1, print1), "InvalidInput: "},
		{"create", create("https://idp.example.com/realm", print1), ""},
		{"create again", create("https://idp.example.com/realm", print1), "EntityAlreadyExists: Provider with url https://idp.example.com/realm already exists."},
		{"thumbprints", func() error {
			return drop(c.UpdateOpenIDConnectProviderThumbprint(ctx, &sdk.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: arn, ThumbprintList: []string{print2}}))
		}, ""},
		{"add client", func() error {
			return drop(c.AddClientIDToOpenIDConnectProvider(ctx, &sdk.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: new("c")}))
		}, ""},
		{"add client again", func() error {
			return drop(c.AddClientIDToOpenIDConnectProvider(ctx, &sdk.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: new("c")}))
		}, ""},
		{"remove client", func() error {
			return drop(c.RemoveClientIDFromOpenIDConnectProvider(ctx, &sdk.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: new("a")}))
		}, ""},
		{"unknown", func() error {
			return drop(c.GetOpenIDConnectProvider(ctx, &sdk.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: none}))
		}, "NoSuchEntity: OpenIDConnect Provider not found for arn " + *none},
		{"delete unknown", func() error {
			return drop(c.DeleteOpenIDConnectProvider(ctx, &sdk.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: none}))
		}, ""},
	})
	w.restart()
	got, err := c.GetOpenIDConnectProvider(ctx, &sdk.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
	w.must(err)
	if *got.Url != "idp.example.com/realm" || !slices.Equal(got.ClientIDList, []string{"b", "c"}) || !slices.Equal(got.ThumbprintList, []string{print2}) {
		t.Errorf("got %+v", got)
	}
	list, err := c.ListOpenIDConnectProviders(ctx, &sdk.ListOpenIDConnectProvidersInput{})
	if err != nil || len(list.OpenIDConnectProviderList) != 1 || *list.OpenIDConnectProviderList[0].Arn != *arn {
		t.Errorf("listed %+v, %v", list, err)
	}
	w.must(drop(c.DeleteOpenIDConnectProvider(ctx, &sdk.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})))
	if list, err = c.ListOpenIDConnectProviders(ctx, &sdk.ListOpenIDConnectProvidersInput{}); err != nil || len(list.OpenIDConnectProviderList) != 0 {
		t.Errorf("listed %+v, %v", list, err)
	}
}
