#!/usr/bin/env bash
# A shop on a plain Linux host, for the tutorials: pods are network namespaces, joined to this node by veths, and their manifests lie
# in a folder that an agent watches. No cluster, no images.
#   shop.sh up        the pods web, api, db, backup and scraper, their servers and manifests
#   shop.sh day       what happens on a day: web asks api, api asks db, scraper asks api
#   shop.sh night     what happens at night: backup reads db
#   shop.sh down      takes everything away again
# SHOP names it (default: shop): its namespaces begin so, and its folder is /run/$SHOP.
set -euo pipefail

shop=${SHOP:-shop}
folder=/run/$shop
pods=(web api db backup scraper)
declare -A address=([web]=10.70.0.2 [api]=10.70.0.3 [db]=10.70.0.4 [backup]=10.70.0.5 [scraper]=10.70.0.6)
declare -A port=([api]=8080 [db]=5432)

pod_manifest() { # name
	cat <<EOF
---
apiVersion: v1
kind: Pod
metadata:
  name: $1
  namespace: shop
  labels: { app: $1 }
  annotations: { sidestep.dev/netns: $shop-$1 }
spec: { nodeName: shop-node }
status: { podIPs: [{ ip: ${address[$1]} }] }
EOF
}

up() {
	mkdir -p "$folder/manifests"
	cat /proc/sys/net/ipv4/ip_forward >"$folder/ip_forward"
	echo 1 >/proc/sys/net/ipv4/ip_forward
	printf 'apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n' >"$folder/manifests/namespace.yaml"
	local name
	for name in "${pods[@]}"; do
		ip netns add "$shop-$name"
		ip link add "shop-$name" type veth peer name eth0 netns "$shop-$name"
		ip addr add 10.70.0.1/32 dev "shop-$name"
		ip link set "shop-$name" up
		ip route add "${address[$name]}/32" dev "shop-$name"
		ip -n "$shop-$name" link set lo up
		ip -n "$shop-$name" addr add "${address[$name]}/32" dev eth0
		ip -n "$shop-$name" link set eth0 up
		ip -n "$shop-$name" route add 10.70.0.1 dev eth0
		ip -n "$shop-$name" route add default via 10.70.0.1
		pod_manifest "$name" >"$folder/manifests/pod-$name.yaml"
	done
	for name in "${!port[@]}"; do
		ip netns exec "$shop-$name" python3 -m http.server "${port[$name]}" --directory "$folder/manifests" >/dev/null 2>&1 &
		echo $! >"$folder/$name.pid"
		until ip netns exec "$shop-$name" bash -c "exec 3<>/dev/tcp/127.0.0.1/${port[$name]}" 2>/dev/null; do sleep 0.1; done
	done
}

ask() { # from, to
	local answer=refused
	if timeout 1 ip netns exec "$shop-$1" bash -c "
		exec 3<>/dev/tcp/${address[$2]}/${port[$2]}
		printf 'GET / HTTP/1.0\r\n\r\n' >&3
		read -r line <&3" 2>/dev/null; then answer=answered; fi
	echo "$1 -> $2: $answer"
}

down() {
	local name
	for name in "${!port[@]}"; do
		[ ! -e "$folder/$name.pid" ] || kill "$(cat "$folder/$name.pid")" 2>/dev/null || true
	done
	for name in "${pods[@]}"; do
		ip netns del "$shop-$name" 2>/dev/null || true
	done
	[ ! -e "$folder/ip_forward" ] || cat "$folder/ip_forward" >/proc/sys/net/ipv4/ip_forward
	rm -rf "$folder"
}

case ${1:-} in
up) up ;;
day) for pair in 'web api' 'api db' 'scraper api'; do ask $pair; done ;;
night) ask backup db ;;
down) down ;;
*) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
esac
