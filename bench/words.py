"""What the platform's loader does while no batches come: documents are entered into the index of words for search.

The last ones, too few for a segment of the index, are found without it.

python -m bench.words ADDRESS METADATA DOCUMENTS
"""

import json
import sys
from contextlib import closing

import pymongo

from bench.measuring import Stint
from blocks.documents.mongo import MongoDocuments


def main(_: str, metadata: str, documents: str, *others: str) -> None:
    with closing(MongoDocuments(documents)) as opened:
        stint = Stint()
        while opened.make_searchable():
            pass
        done = {"seconds": stint.seconds(), "processes": {"loader": stint.process()}}
    with pymongo.MongoClient(documents) as client:
        records = client.get_default_database()["test_case_detail"].count_documents({})
    print(json.dumps(done | {"records": records}))


if __name__ == "__main__":
    main(*sys.argv[1:])
