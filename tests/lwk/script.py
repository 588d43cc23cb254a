# What a user's script does: modules, files, threads, children, pipes, floating point.
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading

random.seed(7)
table = {f"key{n}": [random.randrange(1000) for _ in range(5)] for n in range(200)}
with tempfile.TemporaryDirectory(dir=".") as folder:
    path = os.path.join(folder, "table.json")
    with open(path, "w") as file:
        json.dump(table, file)
    with open(path) as file:
        again = json.load(file)
    os.rename(path, path + ".old")
    print("same:", again == table, sorted(os.listdir(folder)), os.path.getsize(path + ".old"))

total = 0
lock = threading.Lock()


def work(start):
    global total
    for n in range(start, start + 1000):
        with lock:
            total += n


threads = [threading.Thread(target=work, args=(n * 1000,)) for n in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("threads:", total)

reader, writer = os.pipe()
child = os.fork()
if child == 0:
    os.write(writer, b"from the child")
    os._exit(3)
os.close(writer)
print("fork:", os.read(reader, 100), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print("run:", subprocess.run(["/bin/echo", "hello"], capture_output=True).stdout)
print("shell:", subprocess.run("exit 4", shell=True).returncode)
print("digest:", hashlib.sha256(b"x" * 100000).hexdigest()[:16])
print("sum:", sum(1.0 / n for n in range(1, 10000)), file=sys.stderr)
sys.exit(5)
