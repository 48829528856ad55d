"""Django's own cache for Redis, and django-redis but for what needs scripts (locks, `incr` of its own).

    python3 django_caches.py HOST:PORT
"""

import sys

import django
from django.conf import settings

BACKENDS = {
    "default": "django.core.cache.backends.redis.RedisCache",
    "django-redis": "django_redis.cache.RedisCache",
}
settings.configure(
    CACHES={
        name: {"BACKEND": backend, "LOCATION": f"redis://{sys.argv[1]}/{number}"}
        for number, (name, backend) in enumerate(BACKENDS.items(), 1)
    }
)
django.setup()

from django.core.cache import caches  # noqa: E402, settings come first

for name in BACKENDS:
    cache = caches[name]
    cache.clear()
    assert not cache.set_many({f"many:{n}": {"number": n} for n in range(1_000)}, timeout=100)
    assert cache.get_many([f"many:{n}" for n in range(1_000)])["many:7"] == {"number": 7}
    cache.delete_many([f"many:{n}" for n in range(500)])
    assert cache.get("many:1") is None and cache.get("many:600") == {"number": 600}
    assert cache.add("x", 1) and not cache.add("x", 2)
    assert cache.incr("x") == 2 and cache.decr("x") == 1
    assert cache.touch("x", 50) and cache.has_key("x") and cache.get_or_set("y", lambda: 5) == 5
    cache.set("ended", 1, timeout=0)
    assert cache.get("ended") is None
    cache.set("versions", 1, version=2)
    assert cache.incr_version("versions", version=2) == 3 and cache.get("versions", version=3) == 1
    cache.clear()
    assert cache.get("x") is None
    print(f"Django {django.__version__}, cache {name}: ok")
