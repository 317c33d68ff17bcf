package iam

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/google/go-cmp/cmp"

	"spoor/internal/aws"
	"spoor/internal/awshttp/model"
	"spoor/internal/call"
	"spoor/internal/record"
)

// TestUserRename: keys, credentials and policies follow a user to its new
// name, and the rename needs the permission on both names.
func TestUserRename(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	alice := w.user("alice", `{"Effect":"Allow","Action":["iam:UpdateUser","iam:GetUser"],"Resource":["arn:aws:iam::111122223333:user/alice","arn:aws:iam::111122223333:user/eng/carol"]}`)
	w.user("bob", "")
	cred, err := c.CreateServiceSpecificCredential(ctx, &sdk.CreateServiceSpecificCredentialInput{UserName: new("alice"), ServiceName: new(CQLService)})
	w.must(err)
	w.try([]attempt{
		{"taken", func() error {
			return drop(c.UpdateUser(ctx, &sdk.UpdateUserInput{UserName: new("alice"), NewUserName: new("BOB")}))
		}, "EntityAlreadyExists: User with name BOB already exists."},
		{"not allowed there", func() error {
			return drop(alice.UpdateUser(ctx, &sdk.UpdateUserInput{UserName: new("alice"), NewUserName: new("dave")}))
		}, "AccessDenied: User: arn:aws:iam::111122223333:user/alice is not authorized to perform: iam:UpdateUser on resource: arn:aws:iam::111122223333:user/dave"},
		{"allowed there", func() error {
			return drop(alice.UpdateUser(ctx, &sdk.UpdateUserInput{UserName: new("alice"), NewUserName: new("carol"), NewPath: new("/eng/")}))
		}, ""},
		{"gone", func() error { return drop(c.GetUser(ctx, &sdk.GetUserInput{UserName: new("alice")})) }, "NoSuchEntity: The user with name alice cannot be found."},
	})
	w.restart()
	got, err := alice.GetUser(ctx, &sdk.GetUserInput{})
	w.must(err)
	if *got.User.Arn != "arn:aws:iam::111122223333:user/eng/carol" {
		t.Errorf("the key now belongs to %s", *got.User.Arn)
	}
	caller, err := w.dir.Login(*cred.ServiceSpecificCredential.ServiceUserName, *cred.ServiceSpecificCredential.ServicePassword)
	if err != nil || caller.UserName != "carol" {
		t.Errorf("the service credential belongs to %+v, %v", caller, err)
	}
}

// TestBoundaries: a boundary narrows a user, and comes and goes.
func TestBoundaries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	alice := w.user("alice", allowAll)
	w.createPolicy("Team", "/team/", listUsers)
	w.must(drop(c.CreateRole(ctx, &sdk.CreateRoleInput{RoleName: new("deploy"), AssumeRolePolicyDocument: new(trustRoot)})))
	groups := func() error { return drop(alice.ListGroups(ctx, &sdk.ListGroupsInput{})) }
	put := func(arn string) func() error {
		return func() error {
			return drop(c.PutUserPermissionsBoundary(ctx, &sdk.PutUserPermissionsBoundaryInput{UserName: new("alice"), PermissionsBoundary: &arn}))
		}
	}
	remove := func() error {
		return drop(c.DeleteUserPermissionsBoundary(ctx, &sdk.DeleteUserPermissionsBoundaryInput{UserName: new("alice")}))
	}
	w.try([]attempt{
		{"free", groups, ""},
		{"unknown", put("arn:aws:iam::111122223333:policy/none"), "NoSuchEntity: Scope ARN: arn:aws:iam::111122223333:policy/none does not exist or is not attachable."},
		{"no ARN", put("something-that-is-no-arn"), "InvalidInput: "},
		{"put", put(teamPolicy), ""},
		{"bound", groups, "AccessDenied: User: arn:aws:iam::111122223333:user/alice is not authorized to perform: iam:ListGroups on resource: arn:aws:iam::111122223333:group/ because no permissions boundary allows the iam:ListGroups action"},
		{"remove", remove, ""},
		{"free again", groups, ""},
		{"remove again", remove, "NoSuchEntity: "},
		{"role", func() error {
			return drop(c.PutRolePermissionsBoundary(ctx, &sdk.PutRolePermissionsBoundaryInput{RoleName: new("deploy"), PermissionsBoundary: new(teamPolicy)}))
		}, ""},
	})
	got, err := c.GetRole(ctx, &sdk.GetRoleInput{RoleName: new("deploy")})
	w.must(err)
	if b := got.Role.PermissionsBoundary; b == nil || *b.PermissionsBoundaryArn != teamPolicy || b.PermissionsBoundaryType != "Policy" || got.Role.RoleLastUsed == nil {
		t.Errorf("the role is %+v", got.Role)
	}
	w.must(drop(c.DeleteRolePermissionsBoundary(ctx, &sdk.DeleteRolePermissionsBoundaryInput{RoleName: new("deploy")})))
	if got, err = c.GetRole(ctx, &sdk.GetRoleInput{RoleName: new("deploy")}); err != nil || got.Role.PermissionsBoundary != nil {
		t.Errorf("the role is %+v, %v", got, err)
	}
}

// TestRoleUpdates: the ways to change a role.
func TestRoleUpdates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	name := new("deploy")
	w.must(drop(c.CreateRole(ctx, &sdk.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: new(trustRoot), Description: new("old")})))
	w.try([]attempt{
		{"exists", func() error {
			return drop(c.CreateRole(ctx, &sdk.CreateRoleInput{RoleName: new("DEPLOY"), AssumeRolePolicyDocument: new(trustRoot)}))
		}, "EntityAlreadyExists: Role with name DEPLOY already exists."},
		{"session", func() error {
			return drop(c.UpdateRole(ctx, &sdk.UpdateRoleInput{RoleName: name, MaxSessionDuration: new(int32(7200)), Description: new("new")}))
		}, ""},
		{"session too long", func() error {
			return drop(c.UpdateRole(ctx, &sdk.UpdateRoleInput{RoleName: name, MaxSessionDuration: new(int32(43201))}))
		}, "ValidationError: 1 validation error detected: "},
		{"trust, malformed", func() error {
			return drop(c.UpdateAssumeRolePolicy(ctx, &sdk.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: new(`{}`)}))
		}, "MalformedPolicyDocument: "},
		{"trust, with a resource", func() error {
			return drop(c.UpdateAssumeRolePolicy(ctx, &sdk.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: new(strings.Replace(trustRoot, `"Action"`, `"Resource":"*","Action"`, 1))}))
		}, "MalformedPolicyDocument: "},
		{"trust, of another action", func() error {
			return drop(c.UpdateAssumeRolePolicy(ctx, &sdk.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: new(strings.Replace(trustRoot, "sts:AssumeRole", "s3:GetObject", 1))}))
		}, "MalformedPolicyDocument: "},
		{"trust, too large", func() error {
			return drop(c.UpdateAssumeRolePolicy(ctx, &sdk.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: new(strings.Replace(trustRoot, "root", strings.Repeat("r", 2048), 1))}))
		}, "LimitExceeded: Cannot exceed quota for ACLSizePerRole: 2048"},
		{"trust", func() error {
			return drop(c.UpdateAssumeRolePolicy(ctx, &sdk.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: new(strings.Replace(trustRoot, "root", "user/admin", 1))}))
		}, ""},
		{"unknown", func() error { return drop(c.UpdateRole(ctx, &sdk.UpdateRoleInput{RoleName: new("none")})) }, "NoSuchEntity: The role with name none cannot be found."},
	})
	got, err := c.GetRole(ctx, &sdk.GetRoleInput{RoleName: name})
	w.must(err)
	if r := got.Role; *r.MaxSessionDuration != 7200 || *r.Description != "new" || !strings.Contains(*r.AssumeRolePolicyDocument, "user%2Fadmin") {
		t.Errorf("the role is %+v", r)
	}
	out, err := c.UpdateRoleDescription(ctx, &sdk.UpdateRoleDescriptionInput{RoleName: name, Description: new("newer")})
	if err != nil || *out.Role.Description != "newer" {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestServiceCredentials is a credential for CQL through its life.
func TestServiceCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	w.user("alice", "")
	create := func(service string) (*types.ServiceSpecificCredential, error) {
		out, err := c.CreateServiceSpecificCredential(ctx, &sdk.CreateServiceSpecificCredentialInput{UserName: new("alice"), ServiceName: &service})
		if err != nil {
			return nil, err
		}
		return out.ServiceSpecificCredential, nil
	}
	first, err := create(CQLService)
	w.must(err)
	second, err := create(CQLService)
	w.must(err)
	if *first.ServiceUserName != "alice-at-111122223333" || *second.ServiceUserName != "alice+1-at-111122223333" || !strings.HasPrefix(*first.ServiceSpecificCredentialId, "ACCA") {
		t.Errorf("%s and %s", *first.ServiceUserName, *second.ServiceUserName)
	}
	login := func(password *string) error { return drop(w.dir.Login(*first.ServiceUserName, *password)) }
	update := func(id string, s types.StatusType) func() error {
		return func() error {
			return drop(c.UpdateServiceSpecificCredential(ctx, &sdk.UpdateServiceSpecificCredentialInput{UserName: new("alice"), ServiceSpecificCredentialId: &id, Status: s}))
		}
	}
	id := *first.ServiceSpecificCredentialId
	unknown := "ACCAAAAAAAAAAAAAAAAAAA"
	w.try([]attempt{
		{"a third", func() error { return drop(create(CQLService)) }, "LimitExceeded: Cannot exceed quota for ServiceSpecificCredentialsPerUser: 2"},
		{"another service", func() error { return drop(create("codecommit.amazonaws.com")) }, "NotSupportedService: "},
		{"login", func() error { return login(first.ServicePassword) }, ""},
		{"unknown", update(unknown, types.StatusTypeInactive), "NoSuchEntity: "},
		{"switch off", update(id, types.StatusTypeInactive), ""},
		{"no login", func() error { return login(first.ServicePassword) }, "iam: InvalidClientTokenId"},
		{"switch on", update(id, types.StatusTypeActive), ""},
		{"login again", func() error { return login(first.ServicePassword) }, ""},
		{"user with credentials", func() error {
			keys, err := c.ListAccessKeys(ctx, &sdk.ListAccessKeysInput{UserName: new("alice")})
			w.must(err)
			w.must(drop(c.DeleteAccessKey(ctx, &sdk.DeleteAccessKeyInput{UserName: new("alice"), AccessKeyId: keys.AccessKeyMetadata[0].AccessKeyId})))
			return drop(c.DeleteUser(ctx, &sdk.DeleteUserInput{UserName: new("alice")}))
		}, "DeleteConflict: "},
	})
	reset, err := c.ResetServiceSpecificCredential(ctx, &sdk.ResetServiceSpecificCredentialInput{UserName: new("alice"), ServiceSpecificCredentialId: &id})
	w.must(err)
	w.try([]attempt{
		{"the old password", func() error { return login(first.ServicePassword) }, "iam: InvalidClientTokenId"},
		{"the new one", func() error { return login(reset.ServiceSpecificCredential.ServicePassword) }, ""},
	})
	list := func(in sdk.ListServiceSpecificCredentialsInput) string {
		got, _ := pages(t, func(m *string) (names []string, _ *string, _ bool, _ error) {
			in.Marker, in.MaxItems = m, new(int32(1))
			o, err := c.ListServiceSpecificCredentials(ctx, &in)
			if err != nil {
				return nil, nil, false, err
			}
			for _, cr := range o.ServiceSpecificCredentials {
				names = append(names, *cr.ServiceUserName)
			}
			return names, o.Marker, o.IsTruncated, nil
		})
		slices.Sort(got)
		return strings.Join(got, " ")
	}
	for _, tt := range []struct {
		in   sdk.ListServiceSpecificCredentialsInput
		want string
	}{
		{sdk.ListServiceSpecificCredentialsInput{UserName: new("alice")}, "alice+1-at-111122223333 alice-at-111122223333"},
		{sdk.ListServiceSpecificCredentialsInput{}, "admin-at-111122223333"},
		{sdk.ListServiceSpecificCredentialsInput{AllUsers: new(true)}, "admin-at-111122223333 alice+1-at-111122223333 alice-at-111122223333"},
		{sdk.ListServiceSpecificCredentialsInput{AllUsers: new(true), ServiceName: new("bedrock.amazonaws.com")}, ""},
	} {
		if got := list(tt.in); got != tt.want {
			t.Errorf("listed %q, want %q", got, tt.want)
		}
	}
	w.must(drop(c.DeleteServiceSpecificCredential(ctx, &sdk.DeleteServiceSpecificCredentialInput{UserName: new("alice"), ServiceSpecificCredentialId: &id})))
	w.try([]attempt{{"deleted", func() error { return login(reset.ServiceSpecificCredential.ServicePassword) }, "iam: InvalidClientTokenId"}})
}

// TestAccessKeys: two a user, on and off, and when each was last used.
func TestAccessKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	alice := w.user("alice", `{"Effect":"Allow","Action":"iam:*","Resource":"arn:aws:iam::111122223333:user/alice"}`)
	second, err := alice.CreateAccessKey(ctx, &sdk.CreateAccessKeyInput{})
	w.must(err)
	id := second.AccessKey.AccessKeyId
	other := w.client(*id, "")
	list := func() error { return drop(other.ListAccessKeys(ctx, &sdk.ListAccessKeysInput{})) }
	update := func(s types.StatusType) func() error {
		return func() error {
			return drop(alice.UpdateAccessKey(ctx, &sdk.UpdateAccessKeyInput{AccessKeyId: id, Status: s}))
		}
	}
	before, err := c.GetAccessKeyLastUsed(ctx, &sdk.GetAccessKeyLastUsedInput{AccessKeyId: id})
	w.must(err)
	if l := before.AccessKeyLastUsed; l.LastUsedDate != nil || *l.Region != "N/A" || *l.ServiceName != "N/A" || *before.UserName != "alice" {
		t.Errorf("never used: %+v", l)
	}
	w.try([]attempt{
		{"a third", func() error { return drop(alice.CreateAccessKey(ctx, &sdk.CreateAccessKeyInput{})) }, "LimitExceeded: Cannot exceed quota for AccessKeysPerUser: 2"},
		{"use", list, ""},
		{"off", update(types.StatusTypeInactive), ""},
		{"unusable", list, "InvalidClientTokenId: The security token included in the request is invalid."},
		{"on", update(types.StatusTypeActive), ""},
		{"usable", list, ""},
		{"bad status", update("Sleeping"), "ValidationError: 1 validation error detected: "},
		{"of another", func() error {
			return drop(alice.CreateAccessKey(ctx, &sdk.CreateAccessKeyInput{UserName: new("admin")}))
		}, "AccessDenied: "},
		{"unknown", func() error {
			return drop(c.GetAccessKeyLastUsed(ctx, &sdk.GetAccessKeyLastUsedInput{AccessKeyId: new("AKIAAAAAAAAAAAAAAAAA")}))
		}, "NoSuchEntity: "},
	})
	after, err := c.GetAccessKeyLastUsed(ctx, &sdk.GetAccessKeyLastUsedInput{AccessKeyId: id})
	w.must(err)
	if l := after.AccessKeyLastUsed; l.LastUsedDate == nil || !l.LastUsedDate.Equal(w.clock()) || *l.Region != "us-east-1" || *l.ServiceName != "iam" {
		t.Errorf("used: %+v", l)
	}
}

// TestAbsentKinds: what cannot be made here is listed as none, for users that
// exist.
func TestAbsentKinds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	mfa, err := c.ListMFADevices(ctx, &sdk.ListMFADevicesInput{UserName: new("admin")})
	if err != nil || len(mfa.MFADevices) != 0 || mfa.MFADevices == nil || mfa.IsTruncated {
		t.Errorf("%+v, %v", mfa, err)
	}
	w.try([]attempt{
		{"MFA, unknown user", func() error { return drop(c.ListMFADevices(ctx, &sdk.ListMFADevicesInput{UserName: new("none")})) }, "NoSuchEntity: The user with name none cannot be found."},
		{"MFA of root", func() error { return drop(w.root.ListMFADevices(ctx, &sdk.ListMFADevicesInput{})) }, ""},
		{"SSH", func() error {
			return drop(c.ListSSHPublicKeys(ctx, &sdk.ListSSHPublicKeysInput{UserName: new("none")}))
		}, "NoSuchEntity: "},
		{"SSH", func() error { return drop(c.ListSSHPublicKeys(ctx, &sdk.ListSSHPublicKeysInput{})) }, ""},
		{"signing", func() error {
			return drop(c.ListSigningCertificates(ctx, &sdk.ListSigningCertificatesInput{UserName: new("none")}))
		}, "NoSuchEntity: "},
		{"virtual MFA", func() error { return drop(c.ListVirtualMFADevices(ctx, &sdk.ListVirtualMFADevicesInput{})) }, ""},
		{"server certificates", func() error { return drop(c.ListServerCertificates(ctx, &sdk.ListServerCertificatesInput{})) }, ""},
		{"SAML", func() error { return drop(c.ListSAMLProviders(ctx, &sdk.ListSAMLProvidersInput{})) }, ""},
		{"service-linked role", func() error {
			return drop(c.CreateServiceLinkedRole(ctx, &sdk.CreateServiceLinkedRoleInput{AWSServiceName: new("athena.amazonaws.com")}))
		}, "InvalidInput: "},
		{"organization", func() error {
			return drop(c.ListOrganizationsFeatures(ctx, &sdk.ListOrganizationsFeaturesInput{}))
		}, "OrganizationNotFoundException: "},
		{"SAML provider", func() error {
			return drop(c.GetSAMLProvider(ctx, &sdk.GetSAMLProviderInput{SAMLProviderArn: new("arn:aws:iam::111122223333:saml-provider/x")}))
		}, "NoSuchEntity: "},
		{"not offered", func() error {
			return drop(c.CreateVirtualMFADevice(ctx, &sdk.CreateVirtualMFADeviceInput{VirtualMFADeviceName: new("x")}))
		}, "UnsupportedOperation: "},
	})
}

// TestContextKeys: the condition keys of policies given and of a user's with
// its groups'.
func TestContextKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	cond := func(key string) string {
		return `{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::${aws:username}/*","Condition":{"StringEquals":{"` + key + `":"x"}}}`
	}
	w.user("alice", cond("aws:SourceIp"))
	w.must(drop(c.CreateGroup(ctx, &sdk.CreateGroupInput{GroupName: new("dev")})))
	w.must(drop(c.PutGroupPolicy(ctx, &sdk.PutGroupPolicyInput{GroupName: new("dev"), PolicyName: new("g"), PolicyDocument: document(cond("aws:PrincipalTag/team"))})))
	w.must(drop(c.AddUserToGroup(ctx, &sdk.AddUserToGroupInput{GroupName: new("dev"), UserName: new("alice")})))
	custom, err := c.GetContextKeysForCustomPolicy(ctx, &sdk.GetContextKeysForCustomPolicyInput{PolicyInputList: []string{*document(cond("s3:prefix")), *document(cond("S3:Prefix"))}})
	w.must(err)
	if d := cmp.Diff([]string{"aws:username", "s3:prefix"}, custom.ContextKeyNames); d != "" {
		t.Error(d)
	}
	for _, tt := range []struct {
		arn  string
		want []string
	}{
		{"user/alice", []string{"aws:PrincipalTag/team", "aws:SourceIp", "aws:username", "s3:prefix"}},
		{"group/dev", []string{"aws:PrincipalTag/team", "aws:username", "s3:prefix"}},
	} {
		got, err := c.GetContextKeysForPrincipalPolicy(ctx, &sdk.GetContextKeysForPrincipalPolicyInput{PolicySourceArn: new("arn:aws:iam::111122223333:" + tt.arn),
			PolicyInputList: []string{*document(cond("s3:prefix"))}})
		w.must(err)
		if d := cmp.Diff(tt.want, got.ContextKeyNames); d != "" {
			t.Errorf("%s: %s", tt.arn, d)
		}
	}
	w.try([]attempt{
		{"malformed", func() error {
			return drop(c.GetContextKeysForCustomPolicy(ctx, &sdk.GetContextKeysForCustomPolicyInput{PolicyInputList: []string{"{"}}))
		}, "InvalidInput: "},
		{"unknown", func() error {
			return drop(c.GetContextKeysForPrincipalPolicy(ctx, &sdk.GetContextKeysForPrincipalPolicyInput{PolicySourceArn: new("arn:aws:iam::111122223333:role/none")}))
		}, "NoSuchEntity: The role with name none cannot be found."},
		{"another account's", func() error {
			return drop(c.GetContextKeysForPrincipalPolicy(ctx, &sdk.GetContextKeysForPrincipalPolicyInput{PolicySourceArn: new("arn:aws:iam::999999999999:role/none")}))
		}, "InvalidInput: "},
	})
}

// TestEveryOperation: each of IAM's operations is offered or in the list of
// refusals, none in both.
func TestEveryOperation(t *testing.T) {
	t.Parallel()
	m, err := model.Load("iam")
	if err != nil {
		t.Fatal(err)
	}
	s := new(Directory).Service()
	count := map[string]int{}
	for _, o := range s.Operations {
		count[o.Name]++
	}
	for _, name := range s.Refused {
		count[name]++
		if c := s.Coverage(name); c.State != call.Refusal {
			t.Errorf("%s is refused and %s", name, c.State)
		}
	}
	for _, name := range m.Operations() {
		if count[name] != 1 {
			t.Errorf("%s is offered or refused %d times", name, count[name])
		}
		delete(count, name)
	}
	if len(count) != 0 {
		t.Errorf("AWS does not have %v", count)
	}
}

// TestEveryOperationIsAuthorized: no operation answers who has no permission,
// and none answers a session of GetSessionToken without a second factor.
func TestEveryOperationIsAuthorized(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("nobody", "")
	u := w.dir.account(testAccount).users["nobody"]
	nobody := &call.Call{AccountID: testAccount, Region: "us-east-1", Caller: w.dir.account(testAccount).userCaller(u, "AKIA")}
	session, err := w.dir.Issue(SessionRequest{Account: testAccount, Type: aws.IAMUser, PrincipalID: u.ID, Duration: time.Hour})
	w.must(err)
	held := &call.Call{AccountID: testAccount, Region: "us-east-1", Caller: session.Caller}
	for _, o := range w.dir.Service().Operations {
		if o.Permissions == nil {
			t.Errorf("%s needs no permission", o.Name)
			continue
		}
		perms, err := o.Permissions(nobody, o.NewInput())
		if err != nil || len(perms) == 0 || perms[0].Action != "iam:"+o.Name || perms[0].Resource == "" && !strings.Contains(o.Name, "Policy") && !strings.Contains(o.Name, "OpenID") {
			t.Errorf("%s needs %v, %v", o.Name, perms, err)
			continue
		}
		if err := w.dir.Authorize(w.ctx, nobody, perms); !aws.IsKind(err, aws.Denied) {
			t.Errorf("%s lets in who has no permission: %v", o.Name, err)
		}
		if _, err := o.Permissions(held, o.NewInput()); !aws.IsKind(err, aws.Unauthenticated) {
			t.Errorf("%s lets a session without MFA in: %v", o.Name, err)
		}
	}
}

// TestPasswordChangedMeanwhile: a password that was derived for another one
// than the user now has is not kept.
func TestPasswordChangedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("alice", "")
	w.must(drop(w.admin.CreateLoginProfile(w.ctx, &sdk.CreateLoginProfileInput{UserName: new("alice"), Password: new("Passw0rd-0")})))
	stale := w.dir.account(testAccount).users["alice"]
	w.must(drop(w.admin.UpdateLoginProfile(w.ctx, &sdk.UpdateLoginProfileInput{UserName: new("alice"), Password: new("Passw0rd-1")})))
	set := func(seen *user) string {
		c := &call.Call{AccountID: testAccount, Caller: &aws.Caller{Type: aws.Root, AccountID: testAccount}, Tx: call.NewTx(w.st)}
		var err error
		w.must((&call.Path{Auth: w.dir, Selector: nothingSelected{}, Journal: w.jr, Store: w.st, Now: w.clock}).Run(w.ctx, c, &inside{func() error {
			err = (&api{w.dir}).setPassword(c, seen, []byte("hash"), func(*loginProfile) {})
			return nil
		}}))
		return said(err)
	}
	if got := set(stale); !strings.Contains(got, "ConcurrentModification") {
		t.Errorf("a stale password: %q", got)
	}
	if got := set(w.dir.account(testAccount).users["alice"]); got != "" {
		t.Errorf("a current one: %q", got)
	}
}

// inside runs a function as a call's handler.
type inside struct{ fn func() error }

func (s *inside) Permissions(_ *call.Call, dst []call.Permission) ([]call.Permission, error) {
	return dst, nil
}
func (s *inside) Handle(context.Context, *call.Call) error                { return s.fn() }
func (s *inside) Events() int                                             { return 1 }
func (s *inside) Category(int) record.Category                            { return record.Management }
func (s *inside) External() bool                                          { return false }
func (s *inside) Describe(_ *call.Call, _ int, _ error, r *record.Record) { r.EventName = "Inside" }
