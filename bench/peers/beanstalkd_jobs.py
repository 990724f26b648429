"""beanstalkd: `python beanstalkd_jobs.py fill N`, `python beanstalkd_jobs.py work THREADS`."""

import os
import sys
import threading

import greenstalk
from calling import call


def connect() -> greenstalk.Client:
    return greenstalk.Client(("127.0.0.1", int(os.environ["BENCH_BEANSTALKD_PORT"])))


def fill(jobs: int) -> None:
    with connect() as client:
        for number in range(jobs):
            client.put(str(number))


def work(threads: int) -> None:
    def loop() -> None:
        with connect() as client:
            while True:
                job = client.reserve()
                call()
                client.delete(job)

    for _ in range(threads):
        threading.Thread(target=loop).start()


if __name__ == "__main__":
    {"fill": fill, "work": work}[sys.argv[1]](int(sys.argv[2]))
