"""What runs a bundle's network: what an engine is (`engine`), LiteRT (`litert`), the choice by name (`catalogue`)."""
