cd "$(dirname "$0")/../.."
D=/tmp/session; mkdir -p $D out/gpu-session; T=${1:-440}
tar -C out/gpu-session -xJf out/carry/bin.tar.xz
trap 'tar -C /tmp --exclude=*.safetensors --exclude=*.npy -czf $OUT/session.tgz session; echo total $SECONDS' EXIT
P=out/gpu-session/pid; S="--config flux-v1.5 --width 2048 --height 2048"; S1="--config flux-v1.5 --width 1024 --height 1024"; S4="--config flux-v1.5 --width 4096 --height 4096"
nvidia-smi --query-gpu=name,driver_version,power.limit,clocks.max.sm,pcie.link.gen.current,pcie.link.width.current --format=csv,noheader; $P --version || exit 3
nvidia-smi -q > $D/nvidia-smi.txt; free -g | head -2
J() { n=$1; l=$2; shift 2; local b=$SECONDS; if [ $((SECONDS+5)) -gt $T ]; then echo "skip $n"; return; fi; timeout $(( l < T-SECONDS ? l : T-SECONDS )) "$@" > $D/$n.out 2> $D/$n.err; echo "$n rc $? $((SECONDS-b)) s"; }
mkdir -p /tmp/w; python3 - <<'P'
import numpy as np
g=np.random.default_rng(1)
for n in (32,256,512): np.save(f"/tmp/w/l{n}.npy", g.standard_normal((1,16,n,n),dtype=np.float32))
np.save("/tmp/w/c.npy", g.standard_normal((1,300,2304),dtype=np.float32))
P
J synth 60 $P synth --config flux-v1.5 --out /tmp/w/ck.safetensors
( tools/gpu-session run --out $D --seconds 80 --jobs 8 micro kernels golden 2>&1 | tail -15 )
echo "tests at $SECONDS"
dec() { $P decode --device cuda:0 --checkpoint /tmp/w/ck.safetensors --latent /tmp/w/l$1.npy --caption /tmp/w/c.npy --seed 3 --out $2 "${@:3}"; }
for n in 32 256; do
 J decode-$n 30 dec $n /tmp/w/p$n.safetensors --json
 case $n in 32) B="1900MB 1GB 400MB";; 256) B="2GB 1200MB 700MB";; esac
 for b in $B; do J decode-$n-$b 30 dec $n /tmp/w/q.safetensors --json --budget $b
  python3 - <<P
import hashlib
def body(p):
    d=open(p,'rb').read(); n=int.from_bytes(d[:8],'little'); return hashlib.sha256(d[8+n:]).hexdigest()
try: a,b=body('/tmp/w/p$n.safetensors'),body('/tmp/w/q.safetensors'); print('$n $b', 'EQUAL' if a==b else 'DIFFERENT', a[:12])
except Exception as e: print('$n $b', e)
P
  rm -f /tmp/w/q.safetensors; done; done
J bench-2048 15 $P bench --json $S --runs 10
for b in 2.5GB 2GB 1.5GB 1.2GB 1GB 600MB; do J bench-2048-$b 20 $P bench --json $S --runs 5 --budget $b; done
J bench-4096 30 $P bench --json $S4 --warmup 1 --runs 3
for b in 4GB 3GB 2.5GB 2GB; do J bench-4096-$b 35 $P bench --json $S4 --warmup 1 --runs 3 --budget $b; done
J bench-1024 15 $P bench --json $S1 --runs 10
for b in 1.5GB 1GB 500MB; do J bench-1024-$b 20 $P bench --json $S1 --runs 5 --budget $b; done
for f in $D/bench-*.out; do python3 - $f <<'P'
import json,sys
try:
    b=json.loads(open(sys.argv[1]).read().splitlines()[-1]); s=b["seconds"]
    print(sys.argv[1].split('/')[-1], 'planned %.3f peak %.3f GB'%(b["planned_bytes"]/1e9,(b.get("peak_bytes") or 0)/1e9), {k:(v if not isinstance(v,dict) else v.get("median")) for k,v in s.items() if k in("total","device","decode","first","upload")}, b["form"])
except Exception as e: print(sys.argv[1], e)
P
done
J tune-2048 45 $P bench --tune --tuning $D/tuning.json --json $S --warmup 2 --runs 7
J bench-2048-tuned 20 $P bench --tuning $D/tuning.json --json $S --runs 20
