"""Where a typed name goes."""

import pytest
import sansldap
from cryptography.x509 import Name
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from extauthz.ldap.templates import DnTemplate, FilterTemplate, TemplateError, escaped_dn_value

NAMES = st.text(
    st.sampled_from('*()\\,+=#"<>; &|!~:{}/') | st.characters(codec="utf-8", exclude_characters="\0"), min_size=1
)


@given(NAMES)
def test_a_name_stays_one_value_of_a_dn(name: str) -> None:
    """RFC 4514 2.4: another library reads the DN back as the same attributes with the same values."""
    dn = DnTemplate("UID={username},OU=people,DC=example,DC=org").fill(name)
    read = Name.from_rfc4514_string(dn)
    assert [(part.oid, part.value) for part in read][::-1] == [
        (NameOID.USER_ID, name),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "people"),
        (NameOID.DOMAIN_COMPONENT, "example"),
        (NameOID.DOMAIN_COMPONENT, "org"),
    ]


@pytest.mark.parametrize(
    ("value", "escaped"),
    [
        ("alice", "alice"),
        ("Zoë", "Zoë"),
        (" a b ", "\\20a b\\20"),
        ("   ", "\\20\\20\\20"),
        ("#1", "\\#1"),
        ("x,uid=root", "x\\,uid\\=root"),
        ('a+b"c\\d<e>f;g', 'a\\+b\\"c\\\\d\\<e\\>f\\;g'),
        ("a\0b", "a\\00b"),
    ],
)
def test_dn_escapes(value: str, escaped: str) -> None:
    """Each character that DNs give a meaning is escaped."""
    assert escaped_dn_value(value) == escaped


@given(NAMES, NAMES)
def test_a_name_stays_one_value_of_a_filter(dn: str, username: str) -> None:
    """RFC 4511 4.5.1.7: what is sent is the parsed filter with the name as bytes of one value, whatever the name is."""
    written = "(&(objectClass=group)(|(member={dn})(!(memberUid=x{username}y))(member:1.2.840.113556.1.4.1941:={dn})))"
    filled = FilterTemplate(written, ("dn", "username")).fill({"dn": dn, "username": username})
    assert filled == sansldap.FilterAnd(
        [
            sansldap.FilterEquality("objectClass", b"group"),
            sansldap.FilterOr(
                [
                    sansldap.FilterEquality("member", dn.encode()),
                    sansldap.FilterNot(sansldap.FilterEquality("memberUid", f"x{username}y".encode())),
                    sansldap.FilterExtensibleMatch("1.2.840.113556.1.4.1941", "member", dn.encode(), False),
                ]
            ),
        ]
    )


@given(NAMES)
def test_a_filter_means_the_same_as_text(name: str) -> None:
    """RFC 4515: written as text and read again, the filter is the one that was sent."""
    filled = FilterTemplate("(uid={username})", ("username",)).fill({"username": name})
    assert sansldap.LDAPFilter.from_string(str(filled)) == filled


@pytest.mark.parametrize(
    "template",
    [
        "",
        "uid=alice,dc=example",
        "uid={user},dc=example",
        "{username}",
        "{username}@example.org",
        "{username}=x,dc=example",
        'uid="{username}",dc=example',
        "uid=#{username},dc=example",
        "uid={username},",
        "uid={username};dc=example",
        "uid={username},dc={domain}",
    ],
)
def test_wrong_dn_templates(template: str) -> None:
    """A template that is not a DN with a name in it is refused when it is loaded."""
    with pytest.raises(TemplateError):
        DnTemplate(template)


@pytest.mark.parametrize(
    "template",
    [
        "",
        "(uid=alice)",
        "(uid={user})",
        "(uid={dn})",
        "({username}=x)",
        "(uid=*{username})",
        "(uid={username}*)",
        "(uid={username}",
        "(uid={username})(cn=x)",
        "(&(uid={username})(cn=*{username}*))",
        "(" * 2000 + "{username}",
    ],
)
def test_wrong_filter_templates(template: str) -> None:
    """A filter that can't be parsed, or where a name would be a part of a pattern or of an attribute, is refused."""
    with pytest.raises(TemplateError):
        FilterTemplate(template, ("username",))
