package iam

import (
	"slices"
	"strconv"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"spoor/internal/aws"
	"spoor/internal/call"
)

func (s *api) keyOperations() []call.Operation {
	return []call.Operation{
		op("CreateAccessKey", func(c *call.Call, in *sdk.CreateAccessKeyInput) target { return s.onUser(c, in.UserName) }, s.createAccessKey),
		op("ListAccessKeys", func(c *call.Call, in *sdk.ListAccessKeysInput) target { return s.onUser(c, in.UserName) }, s.listAccessKeys, call.ReadOnly),
		op("UpdateAccessKey", func(c *call.Call, in *sdk.UpdateAccessKeyInput) target { return s.onUser(c, in.UserName) }, s.updateAccessKey),
		op("DeleteAccessKey", func(c *call.Call, in *sdk.DeleteAccessKeyInput) target { return s.onUser(c, in.UserName) }, s.deleteAccessKey),
		op("GetAccessKeyLastUsed", s.onKeyOwner, s.getAccessKeyLastUsed, call.ReadOnly),
	}
}

// keyHolder changes the access keys of a user, or of root when root calls
// without a user's name.
func (s *api) keyHolder(c *call.Call, name *string, fn func(ch *change, keys []accessKey) ([]accessKey, error)) error {
	if str(name) == "" && c.Caller.Type == aws.Root {
		ch, err := s.d.begin(c)
		if err != nil {
			return err
		}
		next := ch.acc.settings.copy()
		if next.RootKeys, err = fn(ch, next.RootKeys); err != nil {
			return err
		}
		return ch.setSettings(next)
	}
	return s.changeUser(c, name, func(ch *change, u *user) (err error) {
		u.Keys, err = fn(ch, u.Keys)
		return err
	})
}

func keyOwnerName(c *call.Call, name *string) string {
	if str(name) != "" {
		return *name
	}
	return c.Caller.UserName
}

func noAccessKey(id string) error {
	return noSuchEntity("The Access Key with id %s cannot be found.", id)
}

func keyIndex(keys []accessKey, id *string) (int, error) {
	i := slices.IndexFunc(keys, func(k accessKey) bool { return k.ID == str(id) })
	if i < 0 {
		return 0, noAccessKey(str(id))
	}
	return i, nil
}

func (s *api) createAccessKey(c *call.Call, in *sdk.CreateAccessKeyInput) (*sdk.CreateAccessKeyOutput, error) {
	var made accessKey
	err := s.keyHolder(c, in.UserName, func(ch *change, keys []accessKey) ([]accessKey, error) {
		if err := quota(len(keys), maxKeysPerUser, "AccessKeysPerUser"); err != nil {
			return nil, err
		}
		made = ch.newKey()
		return append(keys, made), nil
	})
	if err != nil {
		return nil, err
	}
	return &sdk.CreateAccessKeyOutput{AccessKey: &types.AccessKey{AccessKeyId: new(made.ID), SecretAccessKey: new(made.secret),
		Status: types.StatusTypeActive, CreateDate: new(made.Created), UserName: optional(keyOwnerName(c, in.UserName))}}, nil
}

func (s *api) listAccessKeys(c *call.Call, in *sdk.ListAccessKeysInput) (*sdk.ListAccessKeysOutput, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, err
	}
	keys, name := a.settings.RootKeys, ""
	if str(in.UserName) != "" || c.Caller.Type != aws.Root {
		u, err := findUser(a, c, in.UserName)
		if err != nil {
			return nil, err
		}
		keys, name = u.Keys, u.Name
	}
	sorted := slices.SortedFunc(slices.Values(keys), func(x, y accessKey) int { return strings.Compare(x.ID, y.ID) })
	part, next, err := page(sorted, in.Marker, in.MaxItems, func(k accessKey) string { return k.ID })
	return &sdk.ListAccessKeysOutput{AccessKeyMetadata: convert(part, func(k accessKey) types.AccessKeyMetadata {
		return types.AccessKeyMetadata{AccessKeyId: new(k.ID), CreateDate: new(k.Created), Status: status(k.Inactive), UserName: optional(name)}
	}), IsTruncated: next != nil, Marker: next}, err
}

func (s *api) updateAccessKey(c *call.Call, in *sdk.UpdateAccessKeyInput) (*sdk.UpdateAccessKeyOutput, error) {
	off, err := inactive(in.Status)
	if err != nil {
		return nil, err
	}
	err = s.keyHolder(c, in.UserName, func(_ *change, keys []accessKey) ([]accessKey, error) {
		i, err := keyIndex(keys, in.AccessKeyId)
		if err != nil {
			return nil, err
		}
		keys[i].Inactive = off
		return keys, nil
	})
	return &sdk.UpdateAccessKeyOutput{}, err
}

func (s *api) deleteAccessKey(c *call.Call, in *sdk.DeleteAccessKeyInput) (*sdk.DeleteAccessKeyOutput, error) {
	err := s.keyHolder(c, in.UserName, func(ch *change, keys []accessKey) ([]accessKey, error) {
		i, err := keyIndex(keys, in.AccessKeyId)
		if err != nil {
			return nil, err
		}
		ch.dropKey(keys[i].ID)
		return slices.Delete(keys, i, i+1), nil
	})
	return &sdk.DeleteAccessKeyOutput{}, err
}

// onKeyOwner is the user of a key, since that is whom the action is about.
func (s *api) onKeyOwner(c *call.Call, in *sdk.GetAccessKeyLastUsedInput) target {
	if a := s.d.account(c.AccountID); a != nil {
		if u := a.userByID(a.keys[str(in.AccessKeyId)]); u != nil {
			return s.onUser(c, &u.Name)
		}
	}
	return target{arn: accountARN(c, "user/")}
}

func (s *api) getAccessKeyLastUsed(c *call.Call, in *sdk.GetAccessKeyLastUsedInput) (*sdk.GetAccessKeyLastUsedOutput, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, err
	}
	id := str(in.AccessKeyId)
	owner, ok := a.keys[id]
	if !ok {
		return nil, noAccessKey(id)
	}
	out := &sdk.GetAccessKeyLastUsedOutput{AccessKeyLastUsed: &types.AccessKeyLastUsed{Region: new("N/A"), ServiceName: new("N/A")}}
	if u := a.userByID(owner); u != nil {
		out.UserName = new(u.Name)
	}
	if l := s.d.lastUse(id); l != nil {
		out.AccessKeyLastUsed = &types.AccessKeyLastUsed{LastUsedDate: new(l.At), Region: new(l.Region), ServiceName: new(l.Service)}
	}
	return out, nil
}

func (s *api) credentialOperations() []call.Operation {
	return []call.Operation{
		op("CreateServiceSpecificCredential", func(c *call.Call, in *sdk.CreateServiceSpecificCredentialInput) target {
			return s.onUser(c, in.UserName).with("iam:ServiceSpecificCredentialServiceName", str(in.ServiceName))
		}, s.createCredential),
		op("ListServiceSpecificCredentials", func(c *call.Call, in *sdk.ListServiceSpecificCredentialsInput) target {
			if in.AllUsers != nil && *in.AllUsers {
				return onPath(c, "user", nil, "*")
			}
			return s.onUser(c, in.UserName)
		}, s.listCredentials, call.ReadOnly),
		op("UpdateServiceSpecificCredential", func(c *call.Call, in *sdk.UpdateServiceSpecificCredentialInput) target {
			return s.onUser(c, in.UserName)
		}, s.updateCredential),
		op("ResetServiceSpecificCredential", func(c *call.Call, in *sdk.ResetServiceSpecificCredentialInput) target {
			return s.onUser(c, in.UserName)
		}, s.resetCredential),
		op("DeleteServiceSpecificCredential", func(c *call.Call, in *sdk.DeleteServiceSpecificCredentialInput) target {
			return s.onUser(c, in.UserName)
		}, s.deleteCredential),
	}
}

func sdkCredential(u *user, cr *serviceCredential, password string) *types.ServiceSpecificCredential {
	out := &types.ServiceSpecificCredential{CreateDate: new(cr.Created), ServiceName: new(cr.Service), ServiceSpecificCredentialId: new(cr.ID),
		Status: status(cr.Inactive), UserName: new(u.Name), ServiceUserName: new(cr.UserName), ServicePassword: new(password)}
	if !cr.Expires.IsZero() {
		out.ExpirationDate = new(cr.Expires)
	}
	return out
}

func (s *api) createCredential(c *call.Call, in *sdk.CreateServiceSpecificCredentialInput) (*sdk.CreateServiceSpecificCredentialOutput, error) {
	service := str(in.ServiceName)
	if service != CQLService {
		return nil, fail(aws.NotFound, 404, "NotSupportedService", "The service %s does not support service-specific credentials.", service)
	}
	var out *types.ServiceSpecificCredential
	err := s.changeUser(c, in.UserName, func(ch *change, u *user) error {
		n := 0
		for _, cr := range u.Credentials {
			if cr.Service == service {
				n++
			}
		}
		if err := quota(n, maxCredentials, "ServiceSpecificCredentialsPerUser"); err != nil {
			return err
		}
		cr, password := s.d.newServiceCredential(service, freeLogin(ch.acc, u.Name))
		if in.CredentialAgeDays != nil {
			cr.Expires = cr.Created.AddDate(0, 0, int(*in.CredentialAgeDays))
		}
		u.Credentials = append(u.Credentials, cr)
		out = sdkCredential(u, &cr, password)
		return nil
	})
	return &sdk.CreateServiceSpecificCredentialOutput{ServiceSpecificCredential: out}, err
}

// freeLogin is the first unused of alice-at-1234, alice+1-at-1234, …
func freeLogin(a *account, user string) string {
	name := user + "-at-" + a.settings.ID
	for i := 1; ; i++ {
		if _, taken := a.logins[name]; !taken {
			return name
		}
		name = user + "+" + strconv.Itoa(i) + "-at-" + a.settings.ID
	}
}

// listCredentials pages through the credentials of one user, or with AllUsers
// of all, in the order of user names and ids.
func (s *api) listCredentials(c *call.Call, in *sdk.ListServiceSpecificCredentialsInput) (*sdk.ListServiceSpecificCredentialsOutput, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, err
	}
	var users []*user
	if in.AllUsers != nil && *in.AllUsers {
		if str(in.UserName) != "" {
			return nil, invalidInput("UserName cannot be given together with AllUsers.")
		}
		users = byName(a.users, nil, func(u *user) string { return u.Path })
	} else {
		u, err := findUser(a, c, in.UserName)
		if err != nil {
			return nil, err
		}
		users = append(users, u)
	}
	var all []types.ServiceSpecificCredentialMetadata
	for _, u := range users {
		sorted := slices.SortedFunc(slices.Values(u.Credentials), func(x, y serviceCredential) int { return strings.Compare(x.ID, y.ID) })
		for i := range sorted {
			if str(in.ServiceName) == "" || sorted[i].Service == *in.ServiceName {
				all = append(all, credentialMetadata(u, &sorted[i]))
			}
		}
	}
	part, next, err := page(all, in.Marker, in.MaxItems, func(m types.ServiceSpecificCredentialMetadata) string {
		return fold(*m.UserName) + "\x00" + *m.ServiceSpecificCredentialId
	})
	return &sdk.ListServiceSpecificCredentialsOutput{ServiceSpecificCredentials: convert(part, func(m types.ServiceSpecificCredentialMetadata) types.ServiceSpecificCredentialMetadata { return m }),
		IsTruncated: next != nil, Marker: next}, err
}

// credentialMetadata is a credential as lists show it: without its password.
func credentialMetadata(u *user, cr *serviceCredential) types.ServiceSpecificCredentialMetadata {
	f := sdkCredential(u, cr, "")
	return types.ServiceSpecificCredentialMetadata{CreateDate: f.CreateDate, ServiceName: f.ServiceName, ServiceSpecificCredentialId: f.ServiceSpecificCredentialId,
		Status: f.Status, UserName: f.UserName, ServiceUserName: f.ServiceUserName, ExpirationDate: f.ExpirationDate}
}

// changeCredential runs fn on one service-specific credential; fn returns
// whether it stays.
func (s *api) changeCredential(c *call.Call, name, id *string, fn func(u *user, cr *serviceCredential) (keep bool)) error {
	return s.changeUser(c, name, func(_ *change, u *user) error {
		i := slices.IndexFunc(u.Credentials, func(cr serviceCredential) bool { return cr.ID == str(id) })
		if i < 0 {
			return noSuchEntity("The service specific credential with id %s cannot be found.", str(id))
		}
		if !fn(u, &u.Credentials[i]) {
			u.Credentials = slices.Delete(u.Credentials, i, i+1)
		}
		return nil
	})
}

func (s *api) updateCredential(c *call.Call, in *sdk.UpdateServiceSpecificCredentialInput) (*sdk.UpdateServiceSpecificCredentialOutput, error) {
	off, err := inactive(in.Status)
	if err != nil {
		return nil, err
	}
	err = s.changeCredential(c, in.UserName, in.ServiceSpecificCredentialId, func(_ *user, cr *serviceCredential) bool {
		cr.Inactive = off
		return true
	})
	return &sdk.UpdateServiceSpecificCredentialOutput{}, err
}

func (s *api) resetCredential(c *call.Call, in *sdk.ResetServiceSpecificCredentialInput) (*sdk.ResetServiceSpecificCredentialOutput, error) {
	var out *types.ServiceSpecificCredential
	err := s.changeCredential(c, in.UserName, in.ServiceSpecificCredentialId, func(u *user, cr *serviceCredential) bool {
		password := newPassword()
		cr.setPassword(password)
		out = sdkCredential(u, cr, password)
		return true
	})
	return &sdk.ResetServiceSpecificCredentialOutput{ServiceSpecificCredential: out}, err
}

func (s *api) deleteCredential(c *call.Call, in *sdk.DeleteServiceSpecificCredentialInput) (*sdk.DeleteServiceSpecificCredentialOutput, error) {
	err := s.changeCredential(c, in.UserName, in.ServiceSpecificCredentialId, func(*user, *serviceCredential) bool { return false })
	return &sdk.DeleteServiceSpecificCredentialOutput{}, err
}
