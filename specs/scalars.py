"""Values that are spelled in a way of their own, as plain records hold and read them. Written by
`python -m specs.derive`."""

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from specs import quantities, rules, values
from specs.spelled import keys, spelled

if TYPE_CHECKING:
    Requires = str
    Ip = str
    Share = float
    Duration = int | Annotated[float, Meta(ge=-1.7976931348623157e308, le=1.7976931348623157e308)]
    Kinds = list[str]
    Label = str
    Size = int
    Cores = int
    Subnet = str
    Span = str
    IpBySubnet = dict[str, Ip]
    Reference = str
    ForwardedPort = str
    Pace = int
    PublicKey = str
    Name = str
    PublicKeyByName = dict[str, PublicKey]
    Certificate = str
    CertificateByName = dict[str, Certificate]
    Replicas = Annotated[int, Meta(ge=0, le=100000)] | list[Annotated[int, Meta(ge=1, le=100000)]]
    Mac = str
    Http = str
    Compared = str
    TagChoice = dict[str, Annotated[list[str | bool | int], Meta(min_length=1)]]
    Traffic = str
    Tags = dict[str, str | bool | int]
else:
    Requires = spelled(str, after=rules.requires)
    Ip = spelled(str, after=values.ip)
    Share = spelled(float, before=quantities.parse_share)
    Duration = spelled(
        int | Annotated[float, Meta(ge=-1.7976931348623157e308, le=1.7976931348623157e308)],
        before=quantities.parse_duration,
    )
    Kinds = spelled(list[str], after=rules.known_kinds)
    Label = spelled(str, after=values.label)
    Size = spelled(int, before=quantities.parse_size)
    Cores = spelled(int, before=quantities.parse_cores)
    Subnet = spelled(str, after=values.subnet)
    Span = spelled(str, after=values.span)
    IpBySubnet = spelled(dict[str, Ip], after=keys(values.subnet))
    Reference = spelled(str, after=values.reference)
    ForwardedPort = spelled(str, after=rules.forwarded)
    Pace = spelled(int, before=quantities.parse_pace)
    PublicKey = spelled(str, after=rules.public_key)
    Name = spelled(str, after=values.name)
    PublicKeyByName = spelled(dict[str, PublicKey], after=keys(values.name))
    Certificate = spelled(str, after=rules.certificate)
    CertificateByName = spelled(dict[str, Certificate], after=keys(values.name))
    Replicas = spelled(
        Annotated[int, Meta(ge=0, le=100000)] | list[Annotated[int, Meta(ge=1, le=100000)]],
        after=rules.replicas,
    )
    Mac = spelled(str, after=values.mac)
    Http = spelled(str, before=rules.http)
    Compared = spelled(str, after=rules.compared)
    TagChoice = spelled(dict[str, Annotated[list[str | bool | int], Meta(min_length=1)]], before=rules.listed)
    Traffic = spelled(str, after=rules.traffic)
    Tags = spelled(dict[str, str | bool | int], before=values.tags)
