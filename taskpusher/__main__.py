from taskpusher.cli import main

main()
