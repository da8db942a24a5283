"""Mistakes between documents, and in their envelopes: what is said, and where."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from trees import BASE, loaded, mistakes, tree

from reconciler.errors import SpecErrors

# ruff: noqa: E501
# fmt: off
CASES: dict[str, tuple[Mapping[str, str | bytes | None], list[str]]] = {
    'a name declared twice': (
     {'acme/y.yaml': 'apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: web}\nspec: {}\n'},
     ['acme/y.yaml:3:18: Machine/acme/web:metadata.name: Machine/acme/web is declared already, in acme/web.yaml (rename one of them, or remove it)']),
    "an authored name that is a replica's": (
     {'acme/y.yaml': 'apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: web-1}\nspec: {}\n',
      'acme/web.yaml': 'apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: web}\nspec: {replicas: 2}\n'},
     ['acme/y.yaml:3:18: Machine/acme/web-1:metadata.name: acme/web-1 is a replica of acme/web as well (acme/web.yaml) (rename one of them)']),
    "a replica's name that is authored already": (
     {'acme/a.yaml': 'apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: web-1}\nspec: {}\n',
      'acme/web.yaml': 'apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: web}\nspec: {replicas: 2}\n'},
     ['acme/web.yaml:3:18: Machine/acme/web:metadata.name: acme/web-1 is a replica of acme/web as well (acme/a.yaml) (rename one of them)']),
    'an address wanted twice': (
     {'acme/y.yaml': 'apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: y}\nspec: {nics: [{network: app, ip: 10.0.1.5}]}\n',
      'acme/z.yaml': 'apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: z}\nspec: {nics: [{network: app, ip: 10.0.1.5}]}\n'},
     ['acme/z.yaml:4:34: Machine/acme/z:nics.0.ip: 10.0.1.5 in app is taken already by acme/y (take another address)']),
    'a MAC wanted twice': (
     {'acme/y.yaml': "apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: y}\nspec: {nics: [{network: app, mac: '02:00:00:00:00:01'}]}\n",
      'acme/z.yaml': "apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: z}\nspec: {nics: [{network: app, mac: '02:00:00:00:00:01'}]}\n"},
     ['acme/z.yaml:4:35: Machine/acme/z:nics.0.mac: the MAC address 02:00:00:00:00:01 is taken already by acme/y (take another, or leave it out)']),
    'projects where the driver keeps none, and beside one for all': (
     {'more.yaml': 'apiVersion: trueup/v1\nkind: Nodes\nitems:\n  e2: {driver: local, tenants: projects}\n'
                   '  i2: {driver: incus, address: "https://i2:8443", tenants: projects, options: {project: x}}\n'},
     ['more.yaml:4:32: Node/e2:tenants: driver local keeps no projects (leave `tenants` out, or choose a node that does, as with incus)',
      'more.yaml:5:89: Node/i2:options.project: one project for all and one for each tenant exclude each other (leave out one of `options.project` and `tenants: projects`)']),
    'a certificate given to two': (
     {'ops/t.yaml': 'apiVersion: trueup/v1\nkind: Tenants\nitems:\n  o: {certificates: {al: "-----BEGIN CERTIFICATE-----\\nMAA=\\n-----END CERTIFICATE-----"}}\n'
                    '  p: {certificates: {bo: "-----BEGIN CERTIFICATE-----\\nMAA=\\n-----END CERTIFICATE-----"}}\n'},
     ['ops/t.yaml:5:26: Tenant/p:certificates.bo: the certificate e4f60d0aa6d7 is used already by o (a holder has one, and is of one tenant)']),
    'a volume on another node than its machine': (
     {'acme/v.yaml': 'apiVersion: trueup/v1\nkind: Volume\nmetadata: {name: shop}\nspec: {size: 1Gi, node: inc/a}\n',
      'acme/y.yaml': 'apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: y}\nspec: {node: inc/b, volumes: {shop: /srv}}\n'},
     ['acme/y.yaml:4:37: Machine/acme/y:volumes.shop: acme/shop is on inc/a, and the machine on inc/b (a volume is mounted where it is: name one node for both)']),
    'volumes where no driver makes them': (
     {'acme/v.yaml': 'apiVersion: trueup/v1\nkind: Volumes\nitems: {shop: {size: 1Gi, node: edge1}, a: {size: 1Gi, node: inc/z}, b: {size: 1Gi}}\n',
      'acme/y.yaml': 'apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: y}\nspec: {node: edge1, volumes: {b: /srv}}\n'},
     ['acme/v.yaml:3:33: Volume/acme/shop:node: driver local of edge1 makes no volumes (choose another node)',
      "acme/v.yaml:3:62: Volume/acme/a:node: there is no node 'inc/z' (name a node, or a member as node/member)",
      'acme/y.yaml:4:30: Machine/acme/y:volumes: driver local of edge1 makes no volumes (use `disks`, or choose another node)']),
    'volumes where there is no node for them': (
     {'nodes.yaml': 'apiVersion: trueup/v1\nkind: Node\nmetadata: {name: edge1}\nspec: {driver: local, nics: {lan: eno1}}\n', 'images.yaml': BASE['images.yaml'],
      'acme/v.yaml': 'apiVersion: trueup/v1\nkind: Volume\nmetadata: {name: shop}\nspec: {size: 1Gi}\n'},
     ["acme/v.yaml:4:7: Volume/acme/shop:spec: no node's driver makes volumes (add a node that does, or use a machine's `disks`)"]),
    'a tenant whose volumes are beyond its limit': (
     {'acme/tenant.yaml': 'apiVersion: trueup/v1\nkind: Tenant\nmetadata: {name: acme}\nspec: {limits: {disk: 11Gi}}\n',
      'acme/v.yaml': 'apiVersion: trueup/v1\nkind: Volume\nmetadata: {name: shop}\nspec: {size: 2Gi}\n'},
     ['acme/tenant.yaml:4:23: Tenant/acme:limits.disk: acme takes 12Gi of disk, its limit is 11Gi (raise the limit, or remove machines)']),
    'a second datacenter': (
     {'dc2.yaml': 'apiVersion: trueup/v1\nkind: Datacenter\nmetadata: {name: dc2}\nspec:\n  id: 3f0c1e52-7d5a-4c57-9d0e-6f1b6a1d2c01\n  dns: {resolvers: [9.9.9.9], search: [dc.internal]}\n'},
     ['dc2.yaml:2:7: Datacenter/dc2:kind: there is a second Datacenter; dc is in datacenter.yaml (a tree has exactly one)']),
    'no datacenter': (
     {'datacenter.yaml': None},
     ['datacenter.yaml:1:1: there is no Datacenter in the tree (trueup init writes one)']),
    'a tenant that is not there': (
     {'acme/tenant.yaml': None},
     ["acme/_defaults.yaml:1:26: metadata.tenant: there is no Tenant 'acme' (add it (kind: Tenant), or correct the name)"]),
    'a name in the tenant and in the datacenter': (
     {'acme/p.yaml': 'apiVersion: trueup/v1\nkind: Package\nmetadata: {name: s}\nspec: {memory: 1Gi}\n'},
     ["acme/_defaults.yaml:2:39: package: 's' is both Package/acme/s and Package/s (write acme/s or datacenter/s)"]),
    'a renamed thing that is still there': (
     {'acme/y.yaml': 'apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: y, renamedFrom: web}\nspec: {}\n'},
     ['acme/y.yaml:3:34: Machine/acme/y:metadata.renamedFrom: acme/web was renamed to this and is still here (remove one of the two)']),
    'two renamed from one': (
     {'acme/y.yaml': 'apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: y, renamedFrom: old}\nspec: {}\n',
      'acme/z.yaml': 'apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: z, renamedFrom: old}\nspec: {}\n'},
     ['acme/z.yaml:3:34: Machine/acme/z:metadata.renamedFrom: acme/old is renamed already by acme/y (it can become one thing only)']),
    'origins in a circle': (
     {'i2.yaml': 'apiVersion: trueup/v1\nkind: Images\nitems:\n  a: {type: rootfs, source: {debian: x}, origin: b}\n  b: {type: rootfs, source: {debian: x}, origin: a}\n'},
     ['i2.yaml:5:50: Image/b:origin: images are made from each other in a circle: a → b → a (remove one of them)']),
    'subnets that overlap on one wire': (
     {'n2.yaml': 'apiVersion: trueup/v1\nkind: Network\nmetadata: {name: n2}\nspec: {nicTag: lan, vlan: 10, subnet: 10.0.0.0/16}\n'},
     ['networks.yaml:4:40: Network/app:subnet: 10.0.1.0/24 overlaps 10.0.0.0/16 of n2 on nic tag lan and vlan 10 (give one of them another subnet or vlan)']),
    "a network's fields against its subnet": (
     {'n2.yaml': 'apiVersion: trueup/v1\nkind: Network\nmetadata: {name: n2}\nspec: {nicTag: lan, vlan: 11, subnet: 10.9.0.0/24, gateway: 10.8.0.1, range: 10.9.0.0-10.9.1.9, reserved: [10.7.0.1], routes: {10.1.0.0/16: 10.8.0.1}, nat: true, tenants: [zz]}\n'},
     ['n2.yaml:4:61: Network/n2:gateway: 10.8.0.1 is outside 10.9.0.0/24 (take an address in the subnet)',
      'n2.yaml:4:78: Network/n2:range: 10.9.0.0-10.9.1.9 is not within 10.9.0.0/24 (keep the range inside the subnet)',
      'n2.yaml:4:108: Network/n2:reserved.0: 10.7.0.1 is outside 10.9.0.0/24 (take an address in the subnet)',
      'n2.yaml:4:141: Network/n2:routes.10.1.0.0/16: 10.8.0.1 is outside 10.9.0.0/24 (a route leads through an address of the subnet)',
      "n2.yaml:4:173: Network/n2:tenants.0: there is no Tenant 'zz' (add it, or name another)"]),
    "a network's fields by themselves": (
     {'n2.yaml': 'apiVersion: trueup/v1\nkind: Network\nmetadata: {name: n2}\nspec: {nicTag: lan, vlan: 11, subnet: 10.9.0.1/24, range: 10.9.0.9-10.9.0.1, nat: true, vlans: 4, mtu: 9}\n'},
     ["n2.yaml:4:39: Network/n2:subnet: '10.9.0.1/24' is an address within a subnet (write 10.9.0.0/24)",
      "n2.yaml:4:59: Network/n2:range: '10.9.0.9-10.9.0.1' ends before it begins (write 10.9.0.1-10.9.0.9)",
      "n2.yaml:4:83: Network/n2:nat: nat needs a gateway, and there is none (add gateway: the node's address in this network)",
      "n2.yaml:4:89: Network/n2:vlans: 'vlans' is not a field here (did you mean vlan?)",
      'n2.yaml:4:104: Network/n2:mtu: 9 is too small (at least 576)']),
    'a range to the edges of its subnet': (
     {'n2.yaml': 'apiVersion: trueup/v1\nkind: Network\nmetadata: {name: n2}\nspec: {nicTag: lan, vlan: 11, subnet: 10.9.0.0/24, range: 10.9.0.0-10.9.0.255, nat: true}\n'},
     ['n2.yaml:4:59: Network/n2:range: 10.9.0.0 is the first of 10.9.0.0/24, no machine can have it (leave it out of the range)',
      'n2.yaml:4:59: Network/n2:range: 10.9.0.255 is the last of 10.9.0.0/24, no machine can have it (leave it out of the range)',
      "n2.yaml:4:85: Network/n2:nat: nat needs a gateway, and there is none (add gateway: the node's address in this network)"]),
    'a pool with holes, named like a network': (
     {'n2.yaml': 'apiVersion: trueup/v1\nkind: NetworkPool\nmetadata: {name: app}\nspec: {networks: [app, app, nope]}\n'},
     ['n2.yaml:4:24: NetworkPool/app:networks.1: app is listed twice (list each network once)',
      "n2.yaml:4:29: NetworkPool/app:networks.2: there is no Network 'nope' (add it, or name another)",
      'networks.yaml:4:8: Network/app:spec: app is also a NetworkPool (n2.yaml), and both are named alike in nics (rename one of them)']),
    'an unknown driver': (
     {'n2.yaml': 'apiVersion: trueup/v1\nkind: Node\nmetadata: {name: n9}\nspec: {driver: vmware}\n'},
     ['n2.yaml:4:7: Node/n9:spec: address is missing (address: where the vmware node is reached)',
      "n2.yaml:4:16: Node/n9:driver: there is no driver 'vmware' (one of incus, local, sim, smartos)"]),
    'a secret in clear': (
     {'n2.yaml': 'apiVersion: trueup/v1\nkind: Node\nmetadata: {name: n9}\nspec: {driver: incus, identity: {key: literal}}\n'},
     ['n2.yaml:4:7: Node/n9:spec: address is missing (address: where the incus node is reached)',
      'n2.yaml:4:39: Node/n9:identity.key: a secret must not stand here in clear (write {secret: NAME} and keep the value with a provider)']),
    'a nic tag the datacenter has not': (
     {'datacenter.yaml': 'apiVersion: trueup/v1\nkind: Datacenter\nmetadata: {name: dc}\nspec:\n  id: 3f0c1e52-7d5a-4c57-9d0e-6f1b6a1d2c01\n  dns: {resolvers: [9.9.9.9], search: [dc.internal]}\n  nicTags: {lan: {}}\n'},
     ["networks.yaml:5:20: Network/public:nicTag: the datacenter has no nic tag 'wan' (there are lan; or add it to Datacenter.nicTags)",
      "nodes.yaml:5:76: Node/inc:nics.wan: the datacenter has no nic tag 'wan' (there are lan; or add it to Datacenter.nicTags)"]),
    'a tenant over its limits': (
     {'acme/tenant.yaml': 'apiVersion: trueup/v1\nkind: Tenant\nmetadata: {name: acme}\nspec: {keys: {bob: "ssh-ed25519 BBBB bob", al: "ssh-ed25519 AAAA al"}, limits: {machines: 0, memory: 512Mi, cpu: 0.5, disk: 1Gi}}\n'},
     ['acme/tenant.yaml:4:91: Tenant/acme:limits.machines: acme takes 1 machines, its limit is 0 (raise the limit, or remove machines)',
      'acme/tenant.yaml:4:102: Tenant/acme:limits.memory: acme takes 1Gi of memory, its limit is 512Mi (raise the limit, or remove machines)',
      'acme/tenant.yaml:4:114: Tenant/acme:limits.cpu: acme takes 1 cores, its limit is 0.5 (raise the limit, or remove machines)',
      'acme/tenant.yaml:4:125: Tenant/acme:limits.disk: acme takes 10Gi of disk, its limit is 1Gi (raise the limit, or remove machines)']),
    'a package no node can hold': (
     {'nodes.yaml': 'apiVersion: trueup/v1\nkind: Nodes\nitems:\n  edge1: {driver: local, nics: {lan: e}, capacity: {memory: 1Gi, disk: 15Gi}}\n'},
     ["packages.yaml:5:15: Package/m:memory: no node has 2Gi of memory, the largest has 1Gi (make it smaller, or correct the nodes' capacity)",
      "packages.yaml:5:47: Package/m:disk: no node has 20Gi of disk, the largest has 15Gi (make it smaller, or correct the nodes' capacity)"]),
    'an image type no driver takes': (
     {'nodes.yaml': 'apiVersion: trueup/v1\nkind: Nodes\nitems:\n  edge1: {driver: local, nics: {lan: e}}\n',
      'acme/y.yaml': 'apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: y}\nspec: {image: vm}\n'},
     ["acme/y.yaml:4:15: Machine/acme/y:image: no node's driver can make a vm of an image of type disk (take another image, or add a node that can)"]),
    'a network of another tenant': (
     {'networks.yaml': 'apiVersion: trueup/v1\nkind: Networks\nitems:\n  app: {nicTag: lan, vlan: 10, subnet: 10.0.1.0/24, range: 10.0.1.100-10.0.1.199, gateway: 10.0.1.1, tenants: [ops]}\n  public: {nicTag: wan, subnet: 198.51.100.0/26, range: 198.51.100.10-198.51.100.60}\n',
      'o.yaml': 'apiVersion: trueup/v1\nkind: Tenant\nmetadata: {name: ops}\n'},
     ["acme/_defaults.yaml:2:49: nics.0: app is not for acme (add the tenant to the network's tenants)"]),
    'defaults of unknown kinds and fields': (
     {'acme/_defaults.yaml': '"*": {metadata: {tenant: acme}}\nMachine: {spec: {image: deb, package: s, nics: [app]}}\nMachin: {}\nNetwork: {spec: {vln: 1}}\nImage: {metadata: {name: x}, foo: 1}\nNode: 5\n'},
     ["acme/_defaults.yaml:3:1: Machin: 'Machin' is no kind (did you mean Machine?)",
      "acme/_defaults.yaml:4:18: Network.vln: 'vln' is not a field here (did you mean vlan?)",
      "acme/_defaults.yaml:5:20: Image.metadata.name: 'name' is not a field here (there are tenant, tags)",
      "acme/_defaults.yaml:5:30: Image.foo: 'foo' is not a field here (there are metadata, spec)",
      'acme/_defaults.yaml:6:7: Node: defaults of a kind are a map ({metadata: {…}, spec: {…}})']),
    'a wrong value in defaults is told once': (
     {'acme/_defaults.yaml': '"*": {metadata: {tenant: acme}}\nMachine: {spec: {image: deb, package: zz, ready: {tcp: 5, within: 7}, nics: [app]}}\n',
      'acme/y.yaml': 'apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: y}\nspec: {}\n'},
     ["acme/_defaults.yaml:2:39: package: there is no Package 'zz' of acme or of the datacenter (add it, or name another)",
      'acme/_defaults.yaml:2:67: ready.within: 7 has no unit, and a time needs one (write 7s or 7m)']),
    'fields for every kind': (
     {'acme/_defaults.yaml': '"*": {spec: {}}\n'},
     ["acme/_defaults.yaml:1:7: *: 'spec' is not a field here (every kind has its own fields: name the kind)",
      "acme/web.yaml:3:11: metadata: a Machine needs a tenant (tenant: NAME here or in the folder's _defaults.yaml)"]),
    'envelopes': (
     {'a.yaml': 'foo: 1\n',
      'b.yaml': 'apiVersion: v2\nkind: Machine\n',
      'c.yaml': 'apiVersion: trueup/v1\n',
      'd.yaml': '- 1\n',
      'e.yaml': 'apiVersion: trueup/v1\nkind: machine\nmetadata: {name: x}\n',
      'f.yaml': 'apiVersion: trueup/v1\nkind: Machine\nmetdata: {}\nspec: {}\n',
      'g.yaml': 'apiVersion: trueup/v1\nkind: Machines\nitems: [a]\n',
      'h.yaml': 'apiVersion: trueup/v1\nkind: Machines\nitems: {1: {}, A_b: {}, c: 5}\n',
      'i.yaml': 'apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: 5, foo: 1}\n',
      'j.yaml': b'\xff\xfe',
      'k.yaml': '\ufeffa: 1\n',
      'l.yaml': 'apiVersion: trueup/v1\nkind: Datacenters\nitems: {}\n',
      'm.yaml': 'apiVersion: trueup/v1\nkind: Tenant\nmetadata: {name: datacenter}\n',
      'n.yaml': 'apiVersion: trueup/v1\nkind: Tenant\nmetadata: {name: t, tenant: x}\n',
      'o.yaml': 'apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: nt}\nspec: {image: deb, package: s}\n'},
     ['a.yaml:1:1: apiVersion is missing (add apiVersion: trueup/v1; files that are no documents are ones that a document names with {file: …})',
      'b.yaml:1:1: metadata is missing (metadata: {name: …})',
      "b.yaml:1:1: image: image is missing (add image: … here or in the folder's _defaults.yaml)",
      "b.yaml:1:1: package: package is missing (add package: … here or in the folder's _defaults.yaml)",
      "b.yaml:1:13: apiVersion: 'v2' is not known (write trueup/v1)",
      'c.yaml:1:1: kind is missing (one of Datacenter, Node, Network, NetworkPool, Package, Image, Tenant, Volume, Machine, FirewallRule, or a plural of one)',
      'd.yaml:1:1: a document is a map (begin with apiVersion: trueup/v1)',
      "e.yaml:1:1: image: image is missing (add image: … here or in the folder's _defaults.yaml)",
      "e.yaml:1:1: package: package is missing (add package: … here or in the folder's _defaults.yaml)",
      "e.yaml:2:7: kind: 'machine' is no kind (did you mean Machine? There are Datacenter, Node, Network, NetworkPool, Package, Image, Tenant, Volume, Machine, FirewallRule)",
      "e.yaml:3:11: metadata: a Machine needs a tenant (tenant: NAME here or in the folder's _defaults.yaml)",
      "f.yaml:3:1: metdata: 'metdata' is not a field here (did you mean metadata?)",
      "f.yaml:3:1: metdata.name: name is missing (add name: … here or in the folder's _defaults.yaml)",
      "f.yaml:3:10: metdata: a Machine needs a tenant (tenant: NAME here or in the folder's _defaults.yaml)",
      "f.yaml:4:1: image: image is missing (add image: … here or in the folder's _defaults.yaml)",
      "f.yaml:4:1: package: package is missing (add package: … here or in the folder's _defaults.yaml)",
      'g.yaml:3:8: items: items is a map by name (items: {NAME: {…}})',
      'h.yaml:3:9: items.1: text is due here, and 1 is read as a number (put it in quotes: "1")',
      "h.yaml:3:9: items.1.image: image is missing (add image: … here or in the folder's _defaults.yaml)",
      "h.yaml:3:9: items.1.package: package is missing (add package: … here or in the folder's _defaults.yaml)",
      "h.yaml:3:12: items.1: a Machine needs a tenant (tenant: NAME here or in the folder's _defaults.yaml)",
      "h.yaml:3:16: items.A_b: 'A_b' is not a name (1 to 63 of a-z, 0-9, dot, dash and underscore, beginning and ending with a-z or 0-9)",
      "h.yaml:3:16: items.A_b.image: image is missing (add image: … here or in the folder's _defaults.yaml)",
      "h.yaml:3:16: items.A_b.package: package is missing (add package: … here or in the folder's _defaults.yaml)",
      "h.yaml:3:21: items.A_b: a Machine needs a tenant (tenant: NAME here or in the folder's _defaults.yaml)",
      "h.yaml:3:28: items.c: a Machine needs a tenant (tenant: NAME here or in the folder's _defaults.yaml)",
      'h.yaml:3:28: items.c: an item is a map (c: {…})',
      "i.yaml:1:1: image: image is missing (add image: … here or in the folder's _defaults.yaml)",
      "i.yaml:1:1: package: package is missing (add package: … here or in the folder's _defaults.yaml)",
      "i.yaml:3:11: metadata: a Machine needs a tenant (tenant: NAME here or in the folder's _defaults.yaml)",
      'i.yaml:3:18: metadata.name: text is due here, and 5 is read as a number (put it in quotes: "5")',
      "i.yaml:3:21: metadata.foo: 'foo' is not a field here (there are name, renamedFrom, tags, tenant)",
      'j.yaml:1:1: the file is not UTF-8, it seems to be UTF-16 (save it as UTF-8)',
      'k.yaml:1:1: apiVersion is missing (add apiVersion: trueup/v1; files that are no documents are ones that a document names with {file: …})',
      'k.yaml:1:1: the file begins with a byte order mark (save it as UTF-8 without one)',
      "l.yaml:2:7: kind: 'Datacenters' is no kind (did you mean Datacenter? There are Datacenter, Node, Network, NetworkPool, Package, Image, Tenant, Volume, Machine, FirewallRule)",
      'm.yaml:3:18: metadata.name: a tenant cannot be called datacenter (references use that word)',
      'n.yaml:3:29: metadata.tenant: a Tenant belongs to no tenant (remove it)',
      "o.yaml:3:11: metadata: a Machine needs a tenant (tenant: NAME here or in the folder's _defaults.yaml)"]),
    'images': (
     {'i2.yaml': "apiVersion: trueup/v1\nkind: Images\nitems:\n  a: {type: roots, source: {debian: x, folder: y}}\n  b: {type: rootfs, source: {url: 'ftp://x'}}\n  c: {type: rootfs, source: {file: x}}\n  d: {type: rootfs, source: {}}\n  e: {type: rootfs, source: {file: x}, digest: abc}\n"},
     ["i2.yaml:4:13: Image/a:type: 'roots' is not a choice here (did you mean rootfs? one of rootfs, disk, zone-dataset, lx-dataset or zvol)",
      'i2.yaml:4:28: Image/a:source: a source is exactly one thing, not folder and debian (one of file, url, folder, machine, debian, busybox)',
      "i2.yaml:5:35: Image/b:source.url: 'ftp://x' is not written as this field wants it (write http://… or https://…)",
      'i2.yaml:6:6: Image/c:spec: contents from a file need their digest (digest: sha256:… (sha256sum FILE))',
      'i2.yaml:7:29: Image/d:source: a source is exactly one thing (one of file, url, folder, machine, debian, busybox)',
      "i2.yaml:8:48: Image/e:digest: 'abc' is not written as this field wants it (write sha256: and 64 hex digits)"]),
    'an unreadable file hides what depends on it': (
     {'packages.yaml': 'apiVersion: trueup/v1\nkind: Packages\nitems:\n  s: {memory: 5}\n  m: [\n'},
     ['packages.yaml:4:15: Package/s:memory: 5 has no unit, and a size needs one (write 5Mi or 5Gi)',
      "packages.yaml:6:1: not YAML: while parsing a flow node, expected the node content, but found '<stream end>' (close the bracket, and put commas between the entries)"]),
    'a wrong document hides what depends on it': (
     {'packages.yaml': 'apiVersion: trueup/v1\nkind: Packages\nitems:\n  s: {memory: 1, cpu: 1, disk: 10Gi}\n  m: {memory: 2Gi, swap: 1Gi, cpu: 1.5, disk: 20Gi}\n'},
     ['packages.yaml:4:15: Package/s:memory: 1 has no unit, and a size needs one (write 1Mi or 1Gi)']),
    'policy': (
     {'datacenter.yaml': "apiVersion: trueup/v1\nkind: Datacenter\nmetadata: {name: dc}\nspec:\n  id: 3f0c1e52-7d5a-4c57-9d0e-6f1b6a1d2c01\n  dns: {resolvers: [9.9.9.9], search: [dc.internal]}\n  requires: '>= 3'\n  policy: {protect: [Foo], quarantine: 7, budgets: {destroys: {perPlan: x, perWeek: 1}}}\n  placement: {reserve: {memory: 15}}\n  follow: yes\n"},
     ['datacenter.yaml:7:13: Datacenter/dc:requires: \'>=\' is not a bound on versions (write ">=0.3 <0.5")',
      "datacenter.yaml:8:21: Datacenter/dc:policy.protect: 'Foo' is no kind (one of Datacenter, Node, Network, NetworkPool, Package, Image, Tenant, Volume, Machine, FirewallRule)",
      'datacenter.yaml:8:40: Datacenter/dc:policy.quarantine: 7 has no unit, and a time needs one (write 7s or 7m)',
      "datacenter.yaml:8:73: Datacenter/dc:policy.budgets.destroys.perPlan: 'x' is not a share (write 0% to 100%)",
      "datacenter.yaml:8:76: Datacenter/dc:policy.budgets.destroys.perWeek: 'perWeek' is not a field here (there are perDay, perHour, perNode, perPlan, perRack, perTenant)",
      'datacenter.yaml:9:33: Datacenter/dc:placement.reserve.memory: 15 has no unit, and a share needs one (write 20%)',
      "datacenter.yaml:10:11: Datacenter/dc:follow: 'yes' is not a choice here (one of auto, approve or off)"]),
}
# fmt: on


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_between_documents_is_told_with_its_place_and_remedy(case: str) -> None:
    files, told = CASES[case]
    assert mistakes(files) == told


TAKEN = "apiVersion: trueup/v1\nkind: Image\nmetadata: {name: own, tenant: acme}\nspec: {type: rootfs, source: {machine: web}}\n"


def test_an_image_taken_from_a_machine_must_not_be_what_that_machine_starts_from() -> None:
    loader = loaded({"own.yaml": TAKEN})
    circle = {"own.yaml": TAKEN, "acme/web.yaml": BASE["acme/web.yaml"].replace("spec: {}", "spec: {image: own}")}
    (told,) = mistakes(circle)
    assert told.startswith("own.yaml:4:40: Image/acme/own:source.machine: images are made from each other in a circle")
    with pytest.raises(SpecErrors) as caught:
        loader.load(tree(circle))  # the image's document is not even read again
    assert [str(found) for found in caught.value.diagnostics] == [told]


USED = {
    "packages.yaml": "there is no Package 's' of acme or of the datacenter",
    "networks.yaml": "there is no Network or NetworkPool 'app' of acme or of the datacenter",
    "images.yaml": "there is no Image 'deb' of acme or of the datacenter",
    "acme/tenant.yaml": "there is no Tenant 'acme'",
}


@pytest.mark.parametrize("path", USED)
def test_what_is_in_use_cannot_be_removed(path: str) -> None:
    loader = loaded()
    before = dict(loader.desired.resources)
    with pytest.raises(SpecErrors) as caught:
        loader.load(tree({path: None}))
    assert USED[path] in str(caught.value)
    assert loader.desired.resources == before


def test_a_node_that_a_machine_names_cannot_be_removed() -> None:
    files = {"acme/web.yaml": BASE["acme/web.yaml"].replace("spec: {}", "spec: {node: edge1}")}
    without = BASE["nodes.yaml"].replace("  edge1: {driver: local, nics: {lan: eno1}, rack: r1}\n", "")
    (told,) = mistakes(files | {"nodes.yaml": without})
    assert (
        told
        == "acme/web.yaml:4:14: Machine/acme/web:node: there is no node 'edge1' (name a node, or a member as node/member)"
    )
    with pytest.raises(SpecErrors, match="there is no node 'edge1'"):
        loaded(files).load(tree(files | {"nodes.yaml": without}))


def test_a_network_that_moves_tells_every_address_it_leaves_behind() -> None:
    files = {"acme/web.yaml": BASE["acme/web.yaml"].replace("spec: {}", "spec: {nics: [{network: app, ip: 10.0.1.5}]}")}
    moved = BASE["networks.yaml"].replace("10.0.1.", "10.0.9.")
    with pytest.raises(SpecErrors, match=r"10\.0\.1\.5 is outside 10\.0\.9\.0/24 of app"):
        loaded(files).load(tree(files | {"networks.yaml": moved}))
